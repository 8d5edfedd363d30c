#include "supervisor/vm/console.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <boost/asio.hpp>

#include "tests/support/temp_dir.hpp"

namespace noxsup::vm {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

/// The test is QEMU at one end and the users at others.
class ConsoleTest : public testing::Test {
  protected:
    ConsoleTest() {
        std::array<int, 2> ends{};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()),
                  0);
        qemu_.reset(ends[0]);
        auto log = BoundedLog::open(dir_ / "console.log");
        EXPECT_TRUE(log);
        console_ =
            std::make_unique<Console>(context_.get_executor(), UniqueFd(ends[1]), std::move(*log));
    }
    void run(std::chrono::milliseconds time = 20ms) {
        context_.restart();
        context_.run_for(time);
    }
    /// Writes as the guest does; the console must keep up.
    void guest_says(std::string_view data) {
        while (!data.empty()) {
            const auto put = ::write(qemu_.get(), data.data(), data.size());
            if (put > 0) data.remove_prefix(static_cast<std::size_t>(put));
            run(1ms);
        }
        run();
    }
    static std::string read_some(int fd) {
        std::string all;
        std::array<char, 65536> chunk{};
        for (;;) {
            const auto got = ::read(fd, chunk.data(), chunk.size());
            if (got <= 0) return all;
            all.append(chunk.data(), static_cast<std::size_t>(got));
        }
    }

    test::TempDir dir_;
    boost::asio::io_context context_;
    UniqueFd qemu_;
    std::unique_ptr<Console> console_;
};

TEST_F(ConsoleTest, LogsAndKeepsTheLastLines) {
    guest_says("one\r\ntwo\x1b[0m\r\nthree");
    EXPECT_EQ(test::slurp(dir_ / "console.log"), "one\r\ntwo\x1b[0m\r\nthree");
    EXPECT_THAT(console_->last_lines(2), ElementsAre("two\\x1b[0m", "three"));
}

TEST_F(ConsoleTest, AUserSeesWhatWasAndWhatComesAndTypes) {
    guest_says("boot\nlogin: ");
    auto user = console_->attach();
    ASSERT_TRUE(user);
    run();
    EXPECT_THAT(read_some(user->get()), HasSubstr("login: "));
    ASSERT_EQ(::write(user->get(), "root\r", 5), 5);
    run();
    EXPECT_EQ(read_some(qemu_.get()), "root\r");
    guest_says("Password: ");
    EXPECT_EQ(read_some(user->get()), "Password: ");
}

TEST_F(ConsoleTest, OldQueriesAreNotAskedAgain) {
    guest_says("boot\r\n\x1b[6n\x1b[1mlogin\x1b[0m: ");
    auto user = console_->attach();
    ASSERT_TRUE(user);
    run();
    EXPECT_EQ(read_some(user->get()), "boot\r\n\x1b[1mlogin\x1b[0m: ");
    guest_says("\x1b[6n");
    EXPECT_EQ(read_some(user->get()), "\x1b[6n") << "what is asked now is the terminal's to answer";
}

TEST_F(ConsoleTest, AStalledUserStopsNobodyAndIsToldWhatWasLeftOut) {
    auto stalled = console_->attach();
    auto other = console_->attach();
    ASSERT_TRUE(stalled && other);
    std::string seen;
    const std::string line(1023, 'x');
    for (int i = 0; i < 2000; ++i) {
        guest_says(line + "\n");
        if (i % 20 == 0) seen += read_some(other->get());
        if (i == 200) break;
    }
    for (int i = 0; i < 60; ++i) {
        guest_says(std::string(32'000, 'y') + "\n");
        seen += read_some(other->get());
    }
    guest_says("the end\n");
    seen += read_some(other->get());
    EXPECT_THAT(seen, HasSubstr("the end"));
    EXPECT_EQ(seen.find("left out"), std::string::npos) << "a user who reads loses nothing";
    std::string late;
    for (int i = 0; i < 200; ++i) {
        late += read_some(stalled->get());
        run(2ms);
    }
    EXPECT_THAT(late, HasSubstr("bytes left out"));
    EXPECT_THAT(late, HasSubstr("the end"));
}

TEST_F(ConsoleTest, AUserWhoLeavesIsForgotten) {
    auto user = console_->attach();
    ASSERT_TRUE(user);
    run();
    user->reset();
    guest_says("still here\n");
    guest_says("and here\n");
    EXPECT_THAT(test::slurp(dir_ / "console.log"), HasSubstr("and here"));
}

TEST_F(ConsoleTest, TheEndOfQemuEndsTheUsers) {
    auto user = console_->attach();
    ASSERT_TRUE(user);
    guest_says("bye\n");
    qemu_.reset();
    run(50ms);
    EXPECT_THAT(read_some(user->get()), HasSubstr("bye"));
    pollfd entry{user->get(), POLLIN, 0};
    ASSERT_EQ(::poll(&entry, 1, 1000), 1);
    EXPECT_EQ(::read(user->get(), &entry, 1), 0) << "end of file";
    EXPECT_EQ(console_->attach().error().code, ErrorCode::wrong_state);
}

TEST_F(ConsoleTest, DestructionWithUsersIsClean) {
    auto user = console_->attach();
    run();
    console_.reset();
    run();
    char byte = 0;
    EXPECT_EQ(::read(user->get(), &byte, 1), 0);
}

TEST(BoundedLog, StaysBelowTwiceItsLimitAndKeepsTheNewest) {
    const test::TempDir dir;
    auto log = BoundedLog::open(dir / "log", 1000);
    ASSERT_TRUE(log);
    for (int i = 0; i < 500; ++i) log->append("line " + std::to_string(i) + "\n");
    EXPECT_LE(std::filesystem::file_size(dir / "log"), 1100U);
    EXPECT_LE(std::filesystem::file_size(dir / "log.1"), 1100U);
    EXPECT_THAT(test::slurp(dir / "log.1") + test::slurp(dir / "log"), HasSubstr("line 499\n"));
}

TEST(BoundLog, AnotherWritersAppendedFileHasNoHole) {
    const test::TempDir dir;
    const UniqueFd writer(
        ::open((dir / "qemu.log").c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
    const std::string much(5000, 'a');
    ASSERT_EQ(::write(writer.get(), much.data(), much.size()), 5000);
    ASSERT_TRUE(bound_log(dir / "qemu.log", 1000));
    ASSERT_EQ(::write(writer.get(), "after", 5), 5);
    EXPECT_EQ(test::slurp(dir / "qemu.log"), "after");
    EXPECT_EQ(test::slurp(dir / "qemu.log.1"), std::string(1000, 'a'));
    EXPECT_TRUE(bound_log(dir / "missing.log", 1000));
}

}  // namespace
}  // namespace noxsup::vm
