#include "supervisor/base/child_steps.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <boost/asio.hpp>
#include <cerrno>

#include "tests/support/temp_dir.hpp"

namespace noxsup {
namespace {

using testing::HasSubstr;

/// As Asio's own services, which are told of a fork and then take their locks: in a child of
/// several threads that may be for ever.
class ServiceOfAContext : public boost::asio::execution_context::service {
  public:
    using key_type = ServiceOfAContext;
    static inline boost::asio::execution_context::id id;
    explicit ServiceOfAContext(boost::asio::execution_context& context) : service(context) {}

  private:
    void shutdown() override {}
    void notify_fork(boost::asio::execution_context::fork_event event) override {
        if (event == boost::asio::execution_context::fork_child) ::_exit(99);
    }
};

class ChildStepsTest : public testing::Test {
  protected:
    Result<Child> run(std::vector<std::string> argv, const std::vector<ChildStep>& steps) {
        SpawnSpec spec;
        spec.argv = std::move(argv);
        return spawn(context_.get_executor(), spec, steps);
    }
    static int exit_code_of(const Child& child) {
        int status = 0;
        ::waitpid(child.pid, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    boost::asio::io_context context_;
};

TEST_F(ChildStepsTest, AllRunInOrderBeforeTheProgram) {
    const test::TempDir dir;
    const auto path = (dir / "log").string();
    const auto note = [&path](char letter) {
        const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        const bool written = ::write(fd, &letter, 1) == 1;
        ::close(fd);
        return written ? 0 : EIO;
    };
    const auto child =
        run({"/bin/sh", "-c", "printf p >> \"$0\"", path},
            {{"first", [&] { return note('1'); }}, {"second", [&] { return note('2'); }}});
    ASSERT_TRUE(child) << child.error().message;
    EXPECT_EQ(exit_code_of(*child), 0);
    EXPECT_EQ(test::slurp(path), "12p");
}

TEST_F(ChildStepsTest, TheContextHearsNothingInTheChild) {
    boost::asio::use_service<ServiceOfAContext>(context_);
    const auto child = run({"/bin/true"}, {});
    ASSERT_TRUE(child) << child.error().message;
    EXPECT_EQ(exit_code_of(*child), 0);
}

TEST_F(ChildStepsTest, AFailedStepIsNamedAndNothingIsRun) {
    const test::TempDir dir;
    const auto path = (dir / "made").string();
    const auto child = run({"/usr/bin/touch", path}, {{"the good one", [] { return 0; }},
                                                      {"the bad one", [] { return EPERM; }},
                                                      {"never", [] { return EIO; }}});
    ASSERT_FALSE(child);
    EXPECT_EQ(child.error().code, ErrorCode::command_failed);
    EXPECT_EQ(child.error().message, "run /usr/bin/touch: the bad one: Operation not permitted");
    EXPECT_FALSE(std::filesystem::exists(path));
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a zombie is left";
}

TEST_F(ChildStepsTest, AMissingProgramIsStillOneBehindGoodSteps) {
    const auto child = run({"/nonexistent"}, {{"good", [] { return 0; }}});
    ASSERT_FALSE(child);
    EXPECT_EQ(child.error().code, ErrorCode::host_lacks_tool);
    EXPECT_EQ(child.error().message, "run /nonexistent: No such file or directory");
}

}  // namespace
}  // namespace noxsup
