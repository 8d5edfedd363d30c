#include "supervisor/cli/programs.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <system_error>

#include "supervisor/base/argv.hpp"

namespace noxsup::cli {
namespace {

constexpr int exec_failed = 127;

Error missing(const std::string& program, int errno_value) {
    return {ErrorCode::host_lacks_tool,
            "cannot run " + program + ": " + std::generic_category().message(errno_value),
            "install it: apt-get install openssh-client"};
}

}  // namespace

Error become(const std::vector<std::string>& argv) {
    const auto words = null_terminated(argv);
    // Ignored signals would stay ignored in the program.
    ::signal(SIGPIPE, SIG_DFL);
    ::execvp(words.front(), words.data());
    const auto failure = errno;
    ::signal(SIGPIPE, SIG_IGN);
    return missing(argv.front(), failure);
}

Result<int> run_in_foreground(const std::vector<std::string>& argv) {
    const auto words = null_terminated(argv);
    // The terminal's signals are the program's; we wait for what it makes of them.
    const auto old_interrupt = ::signal(SIGINT, SIG_IGN);
    const auto old_quit = ::signal(SIGQUIT, SIG_IGN);
    const auto child = ::fork();
    if (child == 0) {
        ::signal(SIGINT, SIG_DFL);
        ::signal(SIGQUIT, SIG_DFL);
        ::signal(SIGPIPE, SIG_DFL);
        ::execvp(words.front(), words.data());
        ::_exit(exec_failed);
    }
    const auto fork_failure = errno;
    int status = 0;
    if (child > 0) {
        while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
    }
    ::signal(SIGINT, old_interrupt);
    ::signal(SIGQUIT, old_quit);
    if (child < 0) return errno_error("fork", fork_failure, ErrorCode::no_memory);
    if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
    if (WEXITSTATUS(status) == exec_failed) return missing(argv.front(), ENOENT);
    return WEXITSTATUS(status);
}

}  // namespace noxsup::cli
