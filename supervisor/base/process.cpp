#include "supervisor/base/process.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/process/v2/process.hpp>
#include <cerrno>
#include <climits>
#include <cstring>

#include "supervisor/base/argv.hpp"
#include "supervisor/base/child_steps.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup {
namespace {

namespace process = boost::process::v2;

/// The launcher's pipe carries one number from the child: an errno, with the step that failed above
/// it.
constexpr int step_shift = 16;
constexpr int errno_mask = (1 << step_shift) - 1;

/// What the child does between fork and exec: only async-signal-safe calls, no allocation.
class ChildSetup {
  public:
    ChildSetup(const SpawnSpec& spec, const std::vector<ChildStep>& steps, int null_fd,
               std::vector<char*>& environment)
        : spec_(spec), steps_(steps), null_fd_(null_fd), environment_(environment) {}

    template <class Launcher, class... Rest>
    boost::system::error_code on_setup(Launcher& launcher, Rest&&... /*rest*/) {
        launcher.env = environment_.data();
        return {};
    }

    template <class Launcher, class... Rest>
    boost::system::error_code on_exec_setup(Launcher& /*launcher*/, Rest&&... /*rest*/) {
        if (spec_.new_session && ::setsid() < 0) return last_error();
        // An ignored SIGPIPE or a blocked signal would be inherited through exec.
        ::signal(SIGPIPE, SIG_DFL);
        sigset_t none;
        ::sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        const int streams[] = {spec_.stdin_fd, spec_.stdout_fd, spec_.stderr_fd};
        for (int target = 0; target < 3; ++target) {
            const int source = streams[target] >= 0 ? streams[target] : null_fd_;
            if (::dup2(source, target) < 0) return last_error();
        }
        // Boost's launcher leaves our other descriptors open (its pipe's own flag is set by it, and
        // is set again here); only what the caller listed passes exec.
        if (::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return last_error();
        for (const int fd : spec_.inherit) {
            if (::fcntl(fd, F_SETFD, 0) != 0) return last_error();
        }
        return take_steps();
    }

    /// Boost 1.81's child calls ::exit after a failed exec, which flushes our stdio buffers twice
    /// and runs our atexit handlers; the error has been sent by the time this runs.
    template <class... Rest>
    void on_exec_error(Rest&&... /*rest*/) {
        ::_exit(127);
    }

  private:
    static boost::system::error_code last_error() {
        return {errno, boost::system::system_category()};
    }

    boost::system::error_code take_steps() const {
        for (std::size_t i = 0; i < steps_.size(); ++i) {
            const int failure = steps_[i].act();
            if (failure == 0) continue;
            // Boost 1.81 sends errno, later ones the code that is returned.
            errno = (static_cast<int>(i + 1) << step_shift) | failure;
            return last_error();
        }
        return {};
    }

    const SpawnSpec& spec_;
    const std::vector<ChildStep>& steps_;
    int null_fd_;
    std::vector<char*>& environment_;
};

/// What the child's number means.
Error exec_error(const SpawnSpec& spec, const std::vector<ChildStep>& steps, int value) {
    const auto what = "run " + spec.argv[0];
    const auto step = static_cast<std::size_t>(value >> step_shift);
    if (step > 0 && step <= steps.size()) {
        return errno_error(what + ": " + steps[step - 1].name, value & errno_mask,
                           ErrorCode::command_failed);
    }
    return errno_error(what, value,
                       value == ENOENT ? ErrorCode::host_lacks_tool : ErrorCode::command_failed);
}

}  // namespace

std::string ExitStatus::describe() const {
    if (exit_code) return "exit code " + std::to_string(*exit_code);
    if (signal) return "signal " + std::to_string(*signal) + " (" + ::strsignal(*signal) + ")";
    return "unknown end";
}

Result<Child> spawn(const boost::asio::any_io_executor& executor, const SpawnSpec& spec) {
    return spawn(executor, spec, {});
}

Result<Child> spawn(const boost::asio::any_io_executor& executor, const SpawnSpec& spec,
                    const std::vector<ChildStep>& steps) {
    UniqueFd null_fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!null_fd) return errno_error("open /dev/null", errno);
    auto environment = null_terminated(spec.environment);
    ChildSetup setup(spec, steps, null_fd.get(), environment);
    process::posix::default_launcher launcher;
    launcher.fd_whitelist.insert(launcher.fd_whitelist.end(), spec.inherit.begin(),
                                 spec.inherit.end());
    boost::system::error_code failure;
    const std::vector<std::string> arguments(spec.argv.begin() + 1, spec.argv.end());
    auto child =
        launcher(executor, failure, process::filesystem::path(spec.argv.at(0)), arguments, setup);
    if (failure) {
        // The launcher leaves a child whose exec failed; until it is gone it holds copies of our
        // descriptors, locks among them. It is on its way out already.
        while (launcher.pid > 0 && ::waitpid(launcher.pid, nullptr, 0) < 0 && errno == EINTR) {
        }
        return exec_error(spec, steps, failure.value());
    }
    // Not yet reaped, so the pid is still the child's.
    const pid_t pid = child.id();
    auto pidfd = open_pidfd(pid);
    child.detach();
    if (!pidfd) {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
        return std::move(pidfd).error();
    }
    return Child{pid, std::move(*pidfd)};
}

boost::asio::awaitable<void> wait_for_exit(int pidfd) {
    namespace asio = boost::asio;
    // Asio closes what it holds; it gets a duplicate, so that the caller's descriptor stays whole.
    UniqueFd duplicate(::fcntl(pidfd, F_DUPFD_CLOEXEC, 3));
    if (!duplicate)
        throw boost::system::system_error(errno, boost::system::system_category(), "dup pidfd");
    asio::posix::stream_descriptor descriptor(co_await asio::this_coro::executor,
                                              duplicate.release());
    co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
}

Result<ExitStatus> reap(int pidfd) {
    siginfo_t info{};
    int outcome = 0;
    do {
        outcome = ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &info,
                           WEXITED | WNOHANG);
    } while (outcome != 0 && errno == EINTR);
    // EAGAIN is what a non-blocking pidfd (Asio makes it one) says of a child that lives.
    if (outcome != 0 && errno != EAGAIN) return errno_error("wait for child", errno);
    if (outcome != 0 || info.si_pid == 0)
        return Error{ErrorCode::io_error, "wait for child: it still lives"};
    ExitStatus status;
    if (info.si_code == CLD_EXITED) {
        status.exit_code = info.si_status;
    } else {
        status.signal = info.si_status;
    }
    return status;
}

std::optional<std::string> find_program(const std::string& name) {
    const char* path = ::getenv("PATH");
    auto directories = split(path == nullptr ? "/usr/local/bin:/usr/bin:/bin" : path, ':');
    for (const auto* sbin : {"/usr/local/sbin", "/usr/sbin", "/sbin"})
        directories.emplace_back(sbin);
    for (const auto& directory : directories) {
        if (directory.empty() || directory.front() != '/') continue;
        auto candidate = directory + "/" + name;
        if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    }
    return std::nullopt;
}

}  // namespace noxsup
