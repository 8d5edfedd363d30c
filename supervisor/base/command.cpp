#include "supervisor/base/command.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <cerrno>
#include <filesystem>

#include "supervisor/base/async.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/pipe.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup {
namespace {

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
constexpr auto as_tuple = asio::as_tuple(asio::use_awaitable);

/// What one stream of the child has said.
struct Capture {
    std::string data;
    bool too_much = false;
};

/// Reads to the end of the stream; past the limit it goes on reading and drops, so the child never
/// blocks.
asio::awaitable<void> drain(asio::readable_pipe& pipe, Capture& into, std::size_t limit,
                            const std::function<void(std::string_view)>& listener, bool keep) {
    std::array<char, 16384> chunk{};
    for (;;) {
        const auto [failure, got] = co_await pipe.async_read_some(asio::buffer(chunk), as_tuple);
        if (got > 0 && listener) listener(std::string_view(chunk.data(), got));
        if (!keep) {
            if (failure) co_return;
            continue;
        }
        if (into.data.size() + got <= limit) {
            into.data.append(chunk.data(), got);
        } else {
            into.too_much = true;
        }
        if (failure) co_return;
    }
}

asio::awaitable<void> feed(asio::writable_pipe& pipe, const std::string& input) {
    // A child that does not read its input to the end (EPIPE) is judged by its exit code.
    co_await asio::async_write(pipe, asio::buffer(input), as_tuple);
    boost::system::error_code ignored;
    pipe.close(ignored);
}

std::vector<std::string> minimal_environment(const Command& command) {
    std::vector<std::string> environment{"LANG=C.UTF-8"};
    for (const auto* name :
         {"PATH", "HOME", "TMPDIR", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"}) {
        if (const char* value = ::getenv(name))
            environment.push_back(std::string(name) + "=" + value);
    }
    environment.insert(environment.end(), command.environment.begin(), command.environment.end());
    return environment;
}

/// Ends the whole process group of a child and reaps it. The group's id cannot be a stranger's: the
/// leader is our child and not reaped yet.
void kill_and_reap(const Child& child) {
    ::kill(-child.pid, SIGKILL);
    // Asio has made the pidfd non-blocking, so waiting and reaping are two calls.
    pollfd ended{child.pidfd.get(), POLLIN, 0};
    while (::poll(&ended, 1, -1) < 0 && errno == EINTR) {
    }
    if (const auto status = reap(child.pidfd.get()); !status) log_error(status.error().message);
}

/// Kills and reaps the child on every way out that did not reap it.
class ChildGuard {
  public:
    explicit ChildGuard(Child child) : child_(std::move(child)) {}
    ChildGuard(const ChildGuard&) = delete;
    ChildGuard& operator=(const ChildGuard&) = delete;
    ~ChildGuard() {
        if (child_.pidfd) kill_and_reap(child_);
    }
    [[nodiscard]] int pidfd() const { return child_.pidfd.get(); }
    /// The leader is not reaped yet, so the group's id is not a stranger's.
    void signal_group(int number) const { ::kill(-child_.pid, number); }
    Result<ExitStatus> take_status() {
        auto status = reap(child_.pidfd.get());
        child_.pidfd.reset();
        return status;
    }

  private:
    Child child_;
};

/// Lets a program that is cut off clean up after itself. The grace bounds it.
asio::awaitable<void> end_gently(const ChildGuard& child, SteadyDuration grace) {
    child.signal_group(SIGTERM);
    const auto deadline = std::chrono::steady_clock::now() + grace;
    asio::steady_timer pause(co_await asio::this_coro::executor);
    while (!process_ended(child.pidfd()) && std::chrono::steady_clock::now() < deadline) {
        pause.expires_after(std::chrono::milliseconds(20));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
}

}  // namespace

ProcessRunner::ProcessRunner() {
    ::signal(SIGPIPE, SIG_IGN);
}

asio::awaitable<Result<CommandOutput>> ProcessRunner::run(Command command) {
    const auto executor = co_await asio::this_coro::executor;
    SpawnSpec spec;
    spec.argv = command.argv;
    if (spec.argv[0].find('/') == std::string::npos) {
        auto program = find_program(spec.argv[0]);
        if (!program) {
            co_return Error{ErrorCode::host_lacks_tool, spec.argv[0] + " is not installed"};
        }
        spec.argv[0] = *program;
    }
    spec.environment = minimal_environment(command);
    spec.inherit = command.inherit;
    NOXSUP_CO_TRY_VALUE(auto in, make_pipe());
    NOXSUP_CO_TRY_VALUE(auto out, make_pipe());
    NOXSUP_CO_TRY_VALUE(auto err, make_pipe());
    spec.stdin_fd = in.read_end.get();
    spec.stdout_fd = out.write_end.get();
    spec.stderr_fd = err.write_end.get();
    NOXSUP_CO_TRY_VALUE(auto started, spawn(executor, spec));
    ChildGuard child(std::move(started));
    in.read_end.reset();
    out.write_end.reset();
    err.write_end.reset();

    asio::writable_pipe to_child(executor, in.write_end.release());
    asio::readable_pipe from_child(executor, out.read_end.release());
    asio::readable_pipe errors(executor, err.read_end.release());
    Capture out_capture;
    Capture err_capture;
    const bool keep_output = !command.on_output;
    auto whole = [&]() -> asio::awaitable<Result<>> {
        co_await (
            feed(to_child, command.input) &&
            drain(from_child, out_capture, command.output_limit, command.on_output, keep_output) &&
            drain(errors, err_capture, command.output_limit, command.on_errors, true) &&
            wait_for_exit(child.pidfd()));
        co_return Result<>();
    };
    Error late(ErrorCode::timeout,
               command.argv[0] + " did not end within " +
                   std::to_string(
                       std::chrono::duration_cast<std::chrono::seconds>(command.deadline).count()) +
                   " s");
    auto operation = whole();
    auto finished = co_await with_deadline(std::move(operation), command.deadline, std::move(late));
    if (!finished) {
        if (command.grace > SteadyDuration::zero()) {
            // A cancellation that has brought us here would end this wait as well.
            const bool throws = co_await asio::this_coro::throw_if_cancelled();
            co_await asio::this_coro::throw_if_cancelled(false);
            auto ending = end_gently(child, command.grace);
            co_await uncancellable(std::move(ending));
            co_await asio::this_coro::throw_if_cancelled(throws);
        }
        co_return std::move(finished).error();
    }
    if (out_capture.too_much || err_capture.too_much) {
        co_return Error{ErrorCode::command_failed, command.argv[0] + " printed more than " +
                                                       format_bytes(command.output_limit)};
    }
    NOXSUP_CO_TRY_VALUE(auto status, child.take_status());
    CommandOutput output{status, std::move(out_capture.data), std::move(err_capture.data)};
    co_return output;
}

Error command_error(const Command& command, const CommandOutput& output, ErrorCode code) {
    const auto program = std::filesystem::path(command.argv[0]).filename().string();
    auto words = last_lines(output.err.empty() ? output.out : output.err, 10);
    const auto last =
        words.empty() ? std::string("said nothing") : escape_for_terminal(words.back());
    Error error(code, program + ": " + last + " (" + output.status.describe() + ")");
    if (words.size() > 1) error.evidence = std::move(words);
    return error;
}

asio::awaitable<Result<std::string>> run_checked(CommandRunner& runner, Command command) {
    auto output = co_await runner.run(command);
    if (!output) co_return std::move(output).error();
    if (!output->ok()) co_return command_error(command, *output);
    co_return std::move(output->out);
}

}  // namespace noxsup
