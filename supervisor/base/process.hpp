// Starting programs and following them by pidfd; the only user of Boost.Process.
#pragma once

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>
#include <vector>

#include "supervisor/base/pidfd.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup {

/// What to run. Nothing is inherited but what is named here.
struct SpawnSpec {
    std::vector<std::string> argv;         ///< argv[0] is an absolute path
    std::vector<std::string> environment;  ///< the whole environment, "NAME=value"
    int stdin_fd = -1;                     ///< borrowed; -1 is /dev/null, for the other two as well
    int stdout_fd = -1;
    int stderr_fd = -1;
    std::vector<int>
        inherit;              ///< borrowed descriptors the child keeps under the same numbers (> 2)
    bool new_session = true;  ///< setsid: no terminal signals, a process group of its own
};

/// A child of this process: signals and waiting go through the pidfd, so never to a stranger.
struct Child {
    pid_t pid = -1;
    UniqueFd pidfd;
};

/// How a child ended.
struct ExitStatus {
    std::optional<int> exit_code;  ///< by exit(2)
    std::optional<int> signal;     ///< by a signal
    /// "exit code 3" or "signal 9 (Killed)".
    [[nodiscard]] std::string describe() const;
};

/// Starts a program. The child outlives this process unless it is ended.
/// @pre every descriptor of this process is CLOEXEC or listed in `inherit` (the child enforces it)
/// Errors: host_lacks_tool when the program is not there, otherwise command_failed.
Result<Child> spawn(const boost::asio::any_io_executor& executor, const SpawnSpec& spec);

/// Completes when the process behind the pidfd has ended. Cancellation: throws as every Asio wait
/// does.
boost::asio::awaitable<void> wait_for_exit(int pidfd);

/// Reaps a child that has ended. Errors: io_error when it is no child of ours or still lives.
Result<ExitStatus> reap(int pidfd);

/// The full path of a program looked up in PATH plus the sbin directories, or nothing.
std::optional<std::string> find_program(const std::string& name);

}  // namespace noxsup
