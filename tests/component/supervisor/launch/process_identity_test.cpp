#include "supervisor/launch/process_identity.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio.hpp>

#include "supervisor/base/process.hpp"
#include "tests/component/supervisor/launch/qemu_fixture.hpp"

namespace noxsup::launch {
namespace {

TEST(ProcessIdentityTest, OfThisProcessOpens) {
    const auto self = identify(::getpid());
    ASSERT_TRUE(self) << self.error().message;
    EXPECT_EQ(self->boot_id.size(), 36U);
    EXPECT_GT(self->start_time, 0U);
    EXPECT_TRUE(*open_identified(*self));
}

TEST(ProcessIdentityTest, AStrangerWithTheSamePidIsNotOpened) {
    const auto self = *identify(::getpid());
    auto other_time = self;
    other_time.start_time += 1;
    EXPECT_FALSE(*open_identified(other_time));
    auto other_boot = self;
    other_boot.boot_id.back() ^= 1;
    EXPECT_FALSE(*open_identified(other_boot));
    for (const pid_t pid : {-1, 0, 1}) {
        auto other = self;
        other.pid = pid;
        EXPECT_FALSE(*open_identified(other)) << pid;
    }
}

TEST(ProcessIdentityTest, NamesWithParenthesesAndSpacesAreRead) {
    const test::TempDir dir;
    const auto program = dir / "a) S 1 (b";
    std::filesystem::create_symlink("/bin/sleep", program);
    boost::asio::io_context context;
    SpawnSpec spec;
    spec.argv = {program.string(), "1000"};
    const auto child = spawn(context.get_executor(), spec);
    ASSERT_TRUE(child) << child.error().message;
    const auto identity = identify(child->pid);
    ASSERT_TRUE(identity);
    EXPECT_GE(identity->start_time, identify(::getpid())->start_time);
    EXPECT_TRUE(*open_identified(*identity));

    // Dead and not yet reaped is dead; so is gone.
    ASSERT_TRUE(send_signal(child->pidfd.get(), SIGKILL));
    test::wait_for_end(child->pidfd.get());
    EXPECT_FALSE(*open_identified(*identity));
    ASSERT_TRUE(reap(child->pidfd.get()));
    EXPECT_FALSE(*open_identified(*identity));
    EXPECT_FALSE(identify(child->pid));
}

}  // namespace
}  // namespace noxsup::launch
