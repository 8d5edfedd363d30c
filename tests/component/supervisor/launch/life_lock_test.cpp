#include "supervisor/launch/life_lock.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <boost/asio.hpp>

#include "supervisor/base/process.hpp"
#include "tests/component/supervisor/launch/qemu_fixture.hpp"

namespace noxsup::launch {
namespace {

TEST(LifeLockTest, IsHeldByOneAndAskingDoesNotTakeIt) {
    const test::TempDir dir;
    const auto path = dir / "lock";
    EXPECT_FALSE(*life_lock_held(path)) << "no file yet";
    {
        const auto lock = take_life_lock(path);
        ASSERT_TRUE(lock) << lock.error().message;
        EXPECT_TRUE(*life_lock_held(path));
        const auto second = take_life_lock(path);
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().code, ErrorCode::wrong_state);
        EXPECT_TRUE(*life_lock_held(path));
    }
    EXPECT_FALSE(*life_lock_held(path));
}

TEST(LifeLockTest, PassesToAChildAndDiesWithIt) {
    const test::TempDir dir;
    const auto path = dir / "lock";
    boost::asio::io_context context;
    auto lock = take_life_lock(path);
    ASSERT_TRUE(lock);
    SpawnSpec sleeper;
    sleeper.argv = {"/bin/sleep", "1000"};
    sleeper.inherit = {lock->get()};
    const auto child = spawn(context.get_executor(), sleeper);
    ASSERT_TRUE(child) << child.error().message;
    lock->reset();
    EXPECT_TRUE(*life_lock_held(path)) << "the child has it";
    ASSERT_TRUE(send_signal(child->pidfd.get(), SIGKILL));
    test::wait_for_end(child->pidfd.get());
    EXPECT_FALSE(*life_lock_held(path));
    EXPECT_TRUE(reap(child->pidfd.get()));
}

TEST(LifeLockTest, ALinkIsNotFollowed) {
    const test::TempDir dir;
    std::filesystem::create_symlink(dir.write("victim", ""), dir / "lock");
    EXPECT_FALSE(take_life_lock(dir / "lock"));
    EXPECT_FALSE(life_lock_held(dir / "lock"));
}

}  // namespace
}  // namespace noxsup::launch
