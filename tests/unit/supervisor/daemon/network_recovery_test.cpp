#include "supervisor/daemon/network_recovery.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "tests/support/temp_dir.hpp"

namespace noxsup::daemon {
namespace {

TEST(NetworkRecovery, IsForWhatWaitsWhereNoSystemdDidItAtBoot) {
    const test::TempDir directory;
    const auto journals = directory / "network";
    const auto none = directory / "no-systemd";
    EXPECT_FALSE(needs_network_recovery(journals, none));
    (void)directory.write("network/br0.confirmed", "");
    EXPECT_FALSE(needs_network_recovery(journals, none));
    (void)directory.write("network/br0.pending", "");
    EXPECT_EQ(needs_network_recovery(journals, none), ::geteuid() == 0);
    std::filesystem::create_directory(directory / "systemd");
    EXPECT_FALSE(needs_network_recovery(journals, directory / "systemd"));
}

}  // namespace
}  // namespace noxsup::daemon
