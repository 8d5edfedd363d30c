#include "supervisor/base/command.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <boost/asio.hpp>

#include "supervisor/base/async.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

class CommandTest : public testing::Test {
  protected:
    Result<CommandOutput> run(Command command) {
        return test::run_async(context_, runner_.run(std::move(command)));
    }
    static Command command(std::vector<std::string> argv) {
        Command result;
        result.argv = std::move(argv);
        return result;
    }
    boost::asio::io_context context_;
    ProcessRunner runner_;
};

TEST_F(CommandTest, ReturnsBothStreamsAndTheExitCode) {
    const auto output = run(command({"sh", "-c", "cat; echo err >&2; exit 3"}));
    ASSERT_TRUE(output) << output.error().message;
    EXPECT_EQ(output->out, "");
    EXPECT_EQ(output->err, "err\n");
    EXPECT_EQ(output->status.exit_code, 3);
}

TEST_F(CommandTest, FeedsInputLargerThanAPipe) {
    auto cat = command({"cat"});
    cat.input = std::string(600'000, 'x');
    const auto output = run(cat);
    ASSERT_TRUE(output) << output.error().message;
    EXPECT_EQ(output->out, cat.input);
}

TEST_F(CommandTest, AProgramThatDoesNotReadItsInputEndsOnlyItself) {
    ::signal(SIGPIPE, SIG_DFL);
    ProcessRunner runner;
    auto deaf = command({"sh", "-c", "exec <&-; sleep 0.2; exit 3"});
    deaf.input = std::string(600'000, 'x');
    const auto output = test::run_async(context_, runner.run(std::move(deaf)));
    ASSERT_TRUE(output) << output.error().message;
    EXPECT_EQ(output->status.exit_code, 3);
}

TEST_F(CommandTest, ArgumentsReachTheProgramAsTheyAre) {
    const auto output = run(command({"printf", "%s|", "a b", "$HOME", "'\"", ""}));
    ASSERT_TRUE(output);
    EXPECT_EQ(output->out, "a b|$HOME|'\"||");
}

TEST_F(CommandTest, AMissingProgramIsNamed) {
    const auto by_name = run(command({"noxsup-no-such-program"}));
    EXPECT_EQ(by_name.error().code, ErrorCode::host_lacks_tool);
    const auto by_path = run(command({"/nonexistent/program"}));
    EXPECT_EQ(by_path.error().code, ErrorCode::host_lacks_tool);
    EXPECT_THAT(by_path.error().message, HasSubstr("/nonexistent/program"));
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "the child that could not exec is left";
}

TEST_F(CommandTest, ADeadlineKillsTheWholeGroup) {
    const test::TempDir dir;
    auto slow = command({"sh", "-c", "echo $$ > pid; sleep 100 & wait"});
    slow.argv[2] = "echo $$ > " + (dir / "pid").string() + "; sleep 100 & wait";
    slow.deadline = 300ms;
    const auto output = run(slow);
    ASSERT_FALSE(output);
    EXPECT_EQ(output.error().code, ErrorCode::timeout);
    const auto group = std::stoi(test::slurp(dir / "pid"));
    // The shell is reaped; its child is init's now and ends a moment later.
    for (int i = 0; i < 200 && ::kill(-group, 0) == 0; ++i) ::usleep(10'000);
    EXPECT_EQ(::kill(-group, 0), -1);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a zombie is left";
}

TEST_F(CommandTest, ErrorsCanBeFollowedAndAreKept) {
    auto noisy = command({"sh", "-c", "echo one >&2; echo two >&2; echo out"});
    std::string seen;
    noisy.on_errors = [&seen](std::string_view piece) { seen += piece; };
    const auto output = run(noisy);
    ASSERT_TRUE(output);
    EXPECT_EQ(seen, "one\ntwo\n");
    EXPECT_EQ(output->err, "one\ntwo\n");
    EXPECT_EQ(output->out, "out\n");
}

TEST_F(CommandTest, AProgramWithAGraceMayCleanUpBeforeItIsKilled) {
    const test::TempDir dir;
    auto tidy = command({"sh", "-c", ""});
    tidy.argv[2] = "trap 'sleep 0.2; echo tidy > " + (dir / "mark").string() +
                   "; exit 0' TERM; sleep 100 & wait";
    tidy.deadline = 300ms;
    tidy.grace = 10s;
    const auto output = run(tidy);
    ASSERT_FALSE(output);
    EXPECT_EQ(output.error().code, ErrorCode::timeout);
    EXPECT_EQ(test::slurp(dir / "mark"), "tidy\n");
    auto stubborn = command({"sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"});
    stubborn.deadline = 100ms;
    stubborn.grace = 300ms;
    EXPECT_EQ(run(stubborn).error().code, ErrorCode::timeout);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

TEST_F(CommandTest, CancellationHonoursTheGrace) {
    const test::TempDir dir;
    TaskGroup tasks(context_.get_executor());
    std::optional<Result<CommandOutput>> outcome;
    auto task = [&]() -> boost::asio::awaitable<void> {
        auto tidy = command(
            {"sh", "-c",
             "trap 'echo tidy > " + (dir / "mark").string() + "; exit 0' TERM; sleep 100 & wait"});
        tidy.grace = 10s;
        auto ended = co_await runner_.run(std::move(tidy));
        outcome.emplace(std::move(ended));
    };
    tasks.spawn("tidy", task());
    context_.run_for(500ms);
    tasks.cancel();
    context_.restart();
    context_.run_for(5s);
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->error().code, ErrorCode::interrupted);
    EXPECT_EQ(test::slurp(dir / "mark"), "tidy\n");
}

TEST_F(CommandTest, TooMuchOutputIsAnErrorAndDoesNotBlockTheProgram) {
    auto loud = command({"head", "-c", "3000000", "/dev/zero"});
    loud.output_limit = 1000;
    const auto output = run(loud);
    ASSERT_FALSE(output);
    EXPECT_THAT(output.error().message, HasSubstr("printed more than"));
}

TEST_F(CommandTest, OutputCanBeFollowed) {
    auto lines = command({"printf", "one\\ntwo\\n"});
    std::string seen;
    lines.on_output = [&seen](std::string_view piece) { seen += piece; };
    const auto output = run(lines);
    ASSERT_TRUE(output);
    EXPECT_EQ(seen, "one\ntwo\n");
}

TEST_F(CommandTest, ChildrenInheritOnlyWhatIsListed) {
    UniqueFd leaky(
        ::open("/dev/null", O_RDONLY));  // NOLINT: without O_CLOEXEC, as Asio's sockets are
    UniqueFd wanted(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    auto list = command({"sh", "-c", "ls /proc/$$/fd"});
    list.inherit = {wanted.get()};
    const auto output = run(list);
    ASSERT_TRUE(output);
    EXPECT_EQ(output->out, "0\n1\n2\n" + std::to_string(wanted.get()) + "\n");
}

TEST_F(CommandTest, DeathByASignalIsNotAnExitCode) {
    const auto output = run(command({"sh", "-c", "kill -9 $$"}));
    ASSERT_TRUE(output);
    EXPECT_FALSE(output->status.exit_code);
    EXPECT_EQ(output->status.signal, SIGKILL);
    EXPECT_EQ(output->status.describe(), "signal 9 (Killed)");
}

TEST_F(CommandTest, RunCheckedTellsTheLastWords) {
    const auto failed = test::run_async(
        context_,
        run_checked(runner_,
                    command({"sh", "-c", "echo first >&2; echo 'no \x1b[1mdisk' >&2; exit 1"})));
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().message, "sh: no \\x1b[1mdisk (exit code 1)");
    EXPECT_EQ(failed.error().evidence.size(), 2U);
    const auto fine = test::run_async(context_, run_checked(runner_, command({"echo", "hello"})));
    EXPECT_EQ(*fine, "hello\n");
}

TEST_F(CommandTest, CancellationKillsAndReaps) {
    TaskGroup tasks(context_.get_executor());
    std::optional<Result<CommandOutput>> outcome;
    auto task = [&]() -> boost::asio::awaitable<void> {
        auto sleep = command({"sleep", "100"});
        auto running = runner_.run(std::move(sleep));
        auto output = co_await std::move(running);
        outcome.emplace(std::move(output));
    };
    tasks.spawn("sleeper", task());
    context_.run_for(200ms);
    ASSERT_FALSE(outcome);
    tasks.cancel();
    context_.restart();
    context_.run_for(5s);
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->error().code, ErrorCode::interrupted);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

}  // namespace
}  // namespace noxsup
