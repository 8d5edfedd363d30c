#include "supervisor/launch/guest_units.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/support/sample_spec.hpp"

namespace noxsup::launch {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

spec::VmSpec trimmed() {
    auto spec = test::sample_spec();
    spec.cloud_init.stock = false;
    return spec;
}

TEST(GuestCredentials, AreForASeedThatIsNotTheVendors) {
    EXPECT_THAT(guest_credentials(test::sample_spec()), IsEmpty());
    auto spec = trimmed();
    EXPECT_THAT(guest_credentials(spec), Not(IsEmpty()));
    spec.cloud_init.enabled = false;
    EXPECT_THAT(guest_credentials(spec), IsEmpty());
}

TEST(GuestCredentials, NameUnitsAndDropInsOnce) {
    std::set<std::string> names;
    for (const auto& credential : guest_credentials(trimmed())) {
        EXPECT_TRUE(names.insert(credential.name).second) << credential.name;
        EXPECT_TRUE(credential.name.starts_with("systemd.extra-unit.") ||
                    credential.name.starts_with("systemd.unit-dropin."));
        EXPECT_TRUE(credential.content.starts_with("[Unit]\n")) << credential.name;
    }
    // Every unit that is given is wanted by a target, and every stage of cloud-init waits.
    EXPECT_THAT(names, Contains("systemd.extra-unit.noxsup-login.service"));
    EXPECT_THAT(names, Contains("systemd.unit-dropin.sysinit.target"));
    for (const auto* unit : {"main", "local", "network"}) {
        EXPECT_THAT(names,
                    Contains("systemd.unit-dropin.cloud-init-" + std::string(unit) + ".service"));
    }
}

TEST(GuestCredentials, SayNothingOfTheVm) {
    auto other = trimmed();
    other.name = "other";
    other.user = "somebody";
    other.uuid = "00000000-0000-4000-8000-000000000000";
    const auto one = guest_credentials(trimmed());
    const auto two = guest_credentials(other);
    ASSERT_EQ(one.size(), two.size());
    for (std::size_t i = 0; i < one.size(); ++i) EXPECT_EQ(one[i].content, two[i].content);
}

TEST(GuestCredentials, AreNotGivenWhereTheMachineLoadsTheUnitsWithItsKernel) {
    auto spec = trimmed();
    spec.boot.mode = spec::BootMode::kernel;
    EXPECT_THAT(guest_credentials(spec), Not(IsEmpty()));
    spec.boot.follow = true;
    EXPECT_THAT(guest_credentials(spec), IsEmpty());
    spec.boot.mode = spec::BootMode::firmware;
    EXPECT_THAT(guest_credentials(spec), Not(IsEmpty()));
}

TEST(InitramfsFiles, AreTheSameUnitsAndThePowerButton) {
    std::string script;
    std::set<std::string> contents;
    for (const auto& file : initramfs_files()) {
        if (file.path == "scripts/noxsup") script = file.content;
        contents.insert(file.content);
    }
    for (const auto& credential : guest_credentials(trimmed()))
        EXPECT_TRUE(contents.contains(credential.content)) << credential.name;
    EXPECT_THAT(script, HasSubstr("/run/systemd/system/noxsup-login.service\n"));
    EXPECT_THAT(script, HasSubstr("/run/systemd/system/sysinit.target.d/50-noxsup.conf\n"));
    EXPECT_THAT(script, HasSubstr("/run/systemd/system/noxsup-orders.service\n"));
    EXPECT_THAT(script, HasSubstr("/run/systemd/system/basic.target.d/50-noxsup.conf\n"));
    EXPECT_THAT(contents, Contains(HasSubstr(guest_port_name)));
}

TEST(SmbiosOption, KeepsCommasInsideTheValue) {
    EXPECT_EQ(smbios_option({"a.b", "x,y=z\n"}),
              "type=11,value=io.systemd.credential:a.b=x,,y=z\n");
}

TEST(QemuArgv, CarriesTheUnits) {
    LaunchFds fds;
    fds.disk = 3;
    fds.seed = 4;
    const auto argv = build_qemu_argv(trimmed(), test::sample_qemu(spec::Arch::amd64), fds);
    EXPECT_THAT(argv, Contains("-smbios"));
    EXPECT_THAT(argv, Contains(HasSubstr("noxsup-login.service=[Unit]\nDescription=")));
}

}  // namespace
}  // namespace noxsup::launch
