#include "supervisor/control/daemon_launcher.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio.hpp>
#include <cerrno>
#include <csignal>
#include <utility>

#include "supervisor/base/async.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/pipe.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/control/rpc.hpp"

namespace noxsup::control {
namespace {

namespace asio = boost::asio;

constexpr off_t log_limit = off_t{1} << 20;
constexpr std::size_t report_limit = std::size_t{64} << 10;
constexpr std::string_view ready_word = "READY";
constexpr std::chrono::milliseconds retry_pause{20};
/// How long the winner of a race may be on its way to listen before another one is started.
constexpr std::chrono::milliseconds winner_time{300};
constexpr std::size_t evidence_lines = 10;

/// The daemon's log, opened to append; one that has grown too long starts anew.
Result<UniqueFd> open_log(const std::filesystem::path& path) {
    NOXSUP_TRY(make_directories(path.parent_path(), 0700));
    NOXSUP_TRY_VALUE(auto log, open_file(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
    struct stat status {};
    if (::fstat(log.get(), &status) == 0 && status.st_size > log_limit &&
        ::ftruncate(log.get(), 0) != 0) {
        return errno_error("empty " + path.string(), errno);
    }
    return log;
}

/// What the second child needs, made before fork: after it only async-signal-safe calls are
/// allowed.
struct Detached {
    std::vector<char*> argv;
    int null = -1;
    int log = -1;
    int ready = -1;
};

[[noreturn]] void become_daemon(const Detached& what) {
    struct sigaction ordinary {};
    ordinary.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &ordinary, nullptr);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const bool ok = ::dup2(what.null, STDIN_FILENO) >= 0 && ::dup2(what.null, STDOUT_FILENO) >= 0 &&
                    ::dup2(what.log, STDERR_FILENO) >= 0 && ::chdir("/") == 0 &&
                    ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0 &&
                    ::fcntl(what.ready, F_SETFD, 0) == 0;
    if (ok) ::execv(what.argv.front(), what.argv.data());
    ::_exit(127);
}

/// fork, setsid, fork: the daemon leads no session, so it can never get a terminal, and is no child
/// of ours.
Result<> start_detached(std::vector<std::string> command, int log, int ready) {
    NOXSUP_TRY_VALUE(const auto null, open_file("/dev/null", O_RDWR));
    Detached what;
    for (auto& word : command) what.argv.push_back(word.data());
    what.argv.push_back(nullptr);
    what.null = null.get();
    what.log = log;
    what.ready = ready;
    const auto child = ::fork();
    if (child < 0) return errno_error("fork", errno, ErrorCode::no_memory);
    if (child == 0) {
        ::setsid();
        const auto grandchild = ::fork();
        if (grandchild == 0) become_daemon(what);
        ::_exit(grandchild < 0 ? 1 : 0);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return Error{ErrorCode::no_memory, "cannot start the supervisor: fork failed"};
    }
    return {};
}

/// Everything the daemon says until it closes its end.
asio::awaitable<Result<std::string>> read_report(UniqueFd pipe) {
    const auto executor = co_await asio::this_coro::executor;
    asio::posix::stream_descriptor reader(executor, pipe.release());
    std::string said;
    std::array<char, 4096> buffer{};
    while (said.size() < report_limit) {
        const auto [failure, count] = co_await reader.async_read_some(
            asio::buffer(buffer), asio::as_tuple(asio::use_awaitable));
        if (failure == asio::error::operation_aborted) {
            co_return Error{ErrorCode::interrupted, "interrupted"};
        }
        if (failure) break;
        said.append(buffer.data(), count);
    }
    co_return said;
}

/// What the report means: ready, lost the race to another daemon, or an error to show.
Result<> judge_report(std::string_view report, const LaunchOptions& options) {
    const auto line = trim(report);
    if (line == ready_word) return {};
    Error error(ErrorCode::supervisor_unreachable, "the supervisor ended before it was ready",
                "run `noxsup daemon` in the foreground to see why");
    if (auto told = parse_json(line); told && told->is_object()) {
        error = error_from_json(*told);
        if (error.code == ErrorCode::daemon_running) return {};
        error.context("start the supervisor");
    }
    if (error.evidence.empty()) {
        const auto log = read_file(options.log, static_cast<std::size_t>(log_limit) * 2);
        if (log) error.evidence = last_lines(*log, evidence_lines);
    }
    return error;
}

bool nobody_listens(const Error& error, const std::filesystem::path& socket) {
    if (error.code != ErrorCode::supervisor_unreachable) return false;
    // A socket that exists but is not ours to use is no reason to start a daemon.
    return ::access(socket.c_str(), F_OK) != 0 || ::access(socket.c_str(), R_OK | W_OK) == 0;
}

Error nothing_there(const LaunchOptions& options, Error error) {
    if (error.hint.empty()) {
        error.hint = options.daemon.empty() ? "start it: systemctl start noxsup"
                                            : "run `noxsup daemon` in the foreground to see why";
    }
    return error;
}

asio::awaitable<Result<>> start_daemon(const LaunchOptions& options) {
    NOXSUP_CO_TRY_VALUE(auto log, open_log(options.log));
    NOXSUP_CO_TRY_VALUE(auto pipe, make_pipe());
    auto command = options.daemon;
    command.emplace_back("--ready-fd");
    command.push_back(std::to_string(pipe.write_end.get()));
    NOXSUP_CO_TRY(start_detached(std::move(command), log.get(), pipe.write_end.get()));
    pipe.write_end.reset();
    Error late(ErrorCode::supervisor_unreachable,
               "the supervisor was not ready within " +
                   std::to_string(options.timeout.count() / 1000) + " s",
               "see " + options.log.string());
    auto reading = read_report(std::move(pipe.read_end));
    NOXSUP_CO_TRY_VALUE(const auto report,
                        co_await with_deadline(std::move(reading), options.timeout, late));
    co_return judge_report(report, options);
}

/// Tries to connect until somebody listens, at most for `limit`.
asio::awaitable<Result<std::unique_ptr<Client>>> connect_within(const LaunchOptions& options,
                                                                std::chrono::milliseconds limit) {
    const auto until = std::chrono::steady_clock::now() + limit;
    for (;;) {
        auto connected = co_await Client::connect(options.socket);
        if (connected) co_return connected;
        if (!nobody_listens(connected.error(), options.socket) ||
            std::chrono::steady_clock::now() > until) {
            co_return nothing_there(options, std::move(connected).error());
        }
        const bool slept = co_await sleep_for(retry_pause);
        if (!slept) co_return Error{ErrorCode::interrupted, "interrupted"};
    }
}

void say(int fd, std::string_view text) {
    if (fd < 0) return;
    const UniqueFd owned(fd);
    // The launcher may be gone; the daemon lives on all the same.
    (void)write_all(owned.get(), text, "readiness pipe");
}

}  // namespace

asio::awaitable<Result<std::unique_ptr<Client>>> connect_or_start(LaunchOptions options) {
    auto connected = co_await Client::connect(options.socket);
    if (connected) co_return connected;
    if (options.daemon.empty() || !nobody_listens(connected.error(), options.socket)) {
        co_return nothing_there(options, std::move(connected).error());
    }
    // One that holds the home may be about to listen, or about to end and then never will: so
    // others are started until one listens.
    const auto until = std::chrono::steady_clock::now() + options.timeout;
    for (;;) {
        NOXSUP_CO_TRY(co_await start_daemon(options));
        auto again = co_await connect_within(options, winner_time);
        if (again || !nobody_listens(again.error(), options.socket) ||
            std::chrono::steady_clock::now() > until) {
            co_return again;
        }
    }
}

void report_ready(int ready_fd) {
    say(ready_fd, std::string(ready_word) + "\n");
}

void report_failure(int ready_fd, const Error& error) {
    say(ready_fd, dump_json(error_to_json(error)) + "\n");
}

}  // namespace noxsup::control
