// Running a program to its end: the narrow interface that code asks for, and its real
// implementation.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/process.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup {

/// A program to run to its end.
struct Command {
    std::vector<std::string> argv;         ///< argv[0]: an absolute path, or a name to look up
    std::string input;                     ///< fed to its standard input
    std::vector<int> inherit;              ///< borrowed descriptors it keeps under the same numbers
    std::vector<std::string> environment;  ///< added to the minimal one (PATH, LANG=C.UTF-8, HOME)
    std::chrono::steady_clock::duration deadline = std::chrono::seconds(60);
    /// When it is cut off (deadline, cancellation), SIGTERM comes first and this long before
    /// SIGKILL: for programs that have something to clean up. Zero: SIGKILL at once.
    std::chrono::steady_clock::duration grace = std::chrono::steady_clock::duration::zero();
    std::size_t output_limit = std::size_t{1}
                               << 20;  ///< bytes kept of each stream; more is an error
    /// Called with each piece of standard output as it comes (then nothing is kept in `out`).
    std::function<void(std::string_view)> on_output;
    /// The same for standard error, which is kept in `err` all the same.
    std::function<void(std::string_view)> on_errors;
};

/// How it ended and what it said.
struct CommandOutput {
    ExitStatus status;
    std::string out;
    std::string err;
    [[nodiscard]] bool ok() const { return status.exit_code == 0; }
};

/// Runs programs. The seam that tests replace (tests/support/fake_command_runner.hpp).
class CommandRunner {
  public:
    CommandRunner() = default;
    CommandRunner(const CommandRunner&) = delete;
    CommandRunner& operator=(const CommandRunner&) = delete;
    virtual ~CommandRunner() = default;

    /// Completes when the program has ended and is reaped. A non-zero exit is a value, not an
    /// error. Errors: host_lacks_tool (not installed), timeout (it was killed), command_failed (too
    /// much output). Cancellation kills the program's process group and completes with
    /// `interrupted`.
    virtual boost::asio::awaitable<Result<CommandOutput>> run(Command command) = 0;
};

/// The real one: a child of this process in its own session, reaped in every case.
class ProcessRunner final : public CommandRunner {
  public:
    /// From here on the process ignores SIGPIPE: a program that ends before it has read its input
    /// (it fell, it was not interested) must not end its starter.
    ProcessRunner();
    boost::asio::awaitable<Result<CommandOutput>> run(Command command) override;
};

/// The error for a program that ended badly: "PROGRAM: last words (exit code 1)", stderr as
/// evidence.
Error command_error(const Command& command, const CommandOutput& output,
                    ErrorCode code = ErrorCode::command_failed);

/// run() with a non-zero exit made an error. Returns standard output.
boost::asio::awaitable<Result<std::string>> run_checked(CommandRunner& runner, Command command);

}  // namespace noxsup
