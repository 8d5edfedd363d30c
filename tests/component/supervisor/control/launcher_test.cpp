#include "supervisor/control/daemon_launcher.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>

#include <boost/asio.hpp>
#include <fstream>

#include "supervisor/base/async.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/process.hpp"
#include "supervisor/base/unix_socket.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::control {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::HasSubstr;

class Launcher : public ::testing::Test {
  protected:
    ~Launcher() override {
        // Ends the daemons of this home, told by what they answered at hello.
        for (const auto& daemon : daemons_) {
            (void)send_signal(daemon.second.get(), SIGKILL);
            asio::io_context context;
            auto gone = wait_gone(daemon.second.get());
            test::run_async(context, std::move(gone));
        }
    }

    static asio::awaitable<bool> wait_gone(int pidfd) {
        co_await wait_for_exit(pidfd);
        co_return true;
    }

    LaunchOptions options() {
        LaunchOptions launch;
        launch.socket = home_ / "run/control.sock";
        launch.daemon = {NOXSUP_FAKE_SUPERVISOR, home_.path().string()};
        launch.log = home_ / "daemon.log";
        return launch;
    }

    Result<std::unique_ptr<Client>> start() {
        auto client = test::run_async(context_, connect_or_start(options()));
        if (client) remember((*client)->server().pid);
        return client;
    }

    void remember(int pid) {
        if (daemons_.contains(pid)) return;
        auto pidfd = open_pidfd(pid);
        if (pidfd) daemons_.emplace(pid, std::move(*pidfd));
    }

    test::TempDir home_;
    asio::io_context context_;
    std::map<int, UniqueFd> daemons_;
};

TEST_F(Launcher, StartsTheDaemonOnceAndConnectsAfterwards) {
    const auto first = start();
    ASSERT_TRUE(first) << first.error().message;
    const auto second = start();
    ASSERT_TRUE(second);
    EXPECT_EQ((*first)->server().pid, (*second)->server().pid);
    EXPECT_EQ((*first)->server().version, "fake");
}

TEST_F(Launcher, TheDaemonHasNoTerminalNoSessionOfOursAndNoStrayDescriptor) {
    const UniqueFd stray(::dup(STDOUT_FILENO));  // not CLOEXEC
    const auto client = start();
    ASSERT_TRUE(client) << client.error().message;
    const auto pid = (*client)->server().pid;
    EXPECT_NE(::getsid(pid), ::getsid(0));
    EXPECT_NE(::getsid(pid), pid) << "a session leader could get a terminal";
    const auto proc = std::filesystem::path("/proc") / std::to_string(pid);
    EXPECT_EQ(std::filesystem::read_symlink(proc / "cwd"), "/");
    EXPECT_EQ(std::filesystem::read_symlink(proc / "fd/0"), "/dev/null");
    EXPECT_EQ(std::filesystem::read_symlink(proc / "fd/1"), "/dev/null");
    EXPECT_EQ(std::filesystem::read_symlink(proc / "fd/2"), home_ / "daemon.log");
    EXPECT_FALSE(std::filesystem::exists(
                     std::filesystem::symlink_status(proc / "fd" / std::to_string(stray.get()))) &&
                 std::filesystem::read_symlink(proc / "fd" / std::to_string(stray.get())) ==
                     std::filesystem::read_symlink("/proc/self/fd/1"));
}

asio::awaitable<void> connect_into(LaunchOptions options, std::vector<int>& pids,
                                   std::vector<std::string>& errors) {
    auto client = co_await connect_or_start(std::move(options));
    if (client) {
        pids.push_back((*client)->server().pid);
    } else {
        errors.push_back(client.error().message);
    }
}

TEST_F(Launcher, FiftyAtOnceGetOneDaemon) {
    std::vector<int> pids;
    std::vector<std::string> errors;
    TaskGroup group(context_.get_executor());
    for (int i = 0; i < 50; ++i) group.spawn("start", connect_into(options(), pids, errors));
    context_.run_for(60s);
    for (const auto pid : pids) remember(pid);
    EXPECT_THAT(errors, ::testing::IsEmpty());
    EXPECT_EQ(pids.size(), 50U);
    EXPECT_EQ(daemons_.size(), 1U);
}

asio::awaitable<void> release_after(std::chrono::seconds time, UniqueFd& lock) {
    co_await sleep_for(time);
    lock.reset();
}

/// A supervisor that was told to end holds its home for a while, and never listens again.
TEST_F(Launcher, AfterOneThatIsEndingAnotherIsStarted) {
    std::filesystem::create_directories(home_ / "run");
    auto lock = *open_file(home_ / "run/daemon.lock", O_RDWR | O_CREAT);
    ASSERT_EQ(::flock(lock.get(), LOCK_EX | LOCK_NB), 0);
    TaskGroup group(context_.get_executor());
    group.spawn("end", release_after(1s, lock));
    const auto client = start();
    EXPECT_TRUE(client) << client.error().message;
}

TEST_F(Launcher, AStaleSocketIsNoDaemon) {
    std::filesystem::create_directories(home_ / "run");
    { const auto dead = listen_unix(home_ / "run/control.sock", 0600); }
    ASSERT_TRUE(std::filesystem::exists(home_ / "run/control.sock"));
    const auto client = start();
    EXPECT_TRUE(client) << client.error().message;
}

TEST_F(Launcher, WhatTheDaemonFailedWithIsTold) {
    (void)home_.write("refuse", "");
    const auto client = start();
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().code, ErrorCode::no_space);
    EXPECT_THAT(client.error().message, HasSubstr("no space for anything"));
    EXPECT_THAT(client.error().evidence, Contains("a line in the log"));
}

TEST_F(Launcher, ADaemonThatDiesLeavesItsLastWords) {
    (void)home_.write("die", "");
    const auto client = start();
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().code, ErrorCode::supervisor_unreachable);
    EXPECT_THAT(client.error().evidence, Contains("last words"));
}

TEST_F(Launcher, AProgramThatIsNotThereIsAnErrorNotAHang) {
    auto launch = options();
    launch.daemon = {"/nonexistent/noxsup"};
    const auto client = test::run_async(context_, connect_or_start(std::move(launch)));
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().code, ErrorCode::supervisor_unreachable);
}

TEST_F(Launcher, WithoutADaemonToStartNothingIsStarted) {
    auto launch = options();
    launch.daemon.clear();
    const auto client = test::run_async(context_, connect_or_start(std::move(launch)));
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().code, ErrorCode::supervisor_unreachable);
    EXPECT_FALSE(client.error().hint.empty());
    EXPECT_FALSE(std::filesystem::exists(home_ / "daemon.log"));
}

TEST_F(Launcher, ALogThatHasGrownTooLongStartsAnew) {
    (void)home_.write("daemon.log", std::string((std::size_t{1} << 20) + 1, 'x'));
    (void)home_.write("die", "");
    EXPECT_FALSE(start());
    EXPECT_EQ(test::slurp(home_ / "daemon.log"), "last words\n");
}

TEST_F(Launcher, ALogOfModestLengthIsKept) {
    (void)home_.write("daemon.log", "before\n");
    (void)home_.write("die", "");
    EXPECT_FALSE(start());
    EXPECT_EQ(test::slurp(home_ / "daemon.log"), "before\nlast words\n");
}

TEST_F(Launcher, ADaemonThatIsNeverReadyIsGivenUp) {
    auto launch = options();
    launch.daemon = {"/bin/sh", "-c", "sleep 2"};
    launch.timeout = 100ms;
    const auto client = test::run_async(context_, connect_or_start(std::move(launch)));
    ASSERT_FALSE(client);
    EXPECT_THAT(client.error().message, HasSubstr("not ready"));
}

}  // namespace
}  // namespace noxsup::control
