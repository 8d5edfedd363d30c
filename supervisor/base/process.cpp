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
    ChildSetup(const SpawnSpec& spec, const std::vector<ChildStep>& steps, int null_fd)
        : spec_(spec), steps_(steps), null_fd_(null_fd) {}

    /// 0, or the number for the parent.
    [[nodiscard]] int act() const {
        if (spec_.new_session && ::setsid() < 0) return errno;
        // An ignored SIGPIPE or a blocked signal would be inherited through exec.
        ::signal(SIGPIPE, SIG_DFL);
        sigset_t none;
        ::sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        const int streams[] = {spec_.stdin_fd, spec_.stdout_fd, spec_.stderr_fd};
        for (int target = 0; target < 3; ++target) {
            const int source = streams[target] >= 0 ? streams[target] : null_fd_;
            if (::dup2(source, target) < 0) return errno;
        }
        // Only what the caller listed passes exec.
        if (::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return errno;
        for (const int fd : spec_.inherit) {
            if (::fcntl(fd, F_SETFD, 0) != 0) return errno;
        }
        for (std::size_t i = 0; i < steps_.size(); ++i) {
            const int failure = steps_[i].act();
            if (failure != 0) return (static_cast<int>(i + 1) << step_shift) | failure;
        }
        return 0;
    }

  private:
    const SpawnSpec& spec_;
    const std::vector<ChildStep>& steps_;
    int null_fd_;
};

/// Boost's own launcher tells the executor's context of the fork in the child as well. There Asio
/// allocates, takes mutexes that another thread may have held at that moment, and makes an epoll
/// of all descriptors anew: for a child that executes another program at once, and that may stand
/// still there for ever.
class Launcher : public process::posix::default_launcher {
  public:
    /// As every launcher of Boost.Process; a failure is the child's number, or an errno of ours.
    template <class Executor>
    process::basic_process<Executor> operator()(Executor executor,
                                                boost::system::error_code& failure,
                                                const process::filesystem::path& program,
                                                const std::vector<std::string>& arguments,
                                                const std::vector<char*>& environment,
                                                const ChildSetup& setup) {
        const auto* const words = build_argv_(program, arguments);
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) {
            failure.assign(errno, boost::system::system_category());
            return process::basic_process<Executor>(executor);
        }
        const UniqueFd ours(ends[0]);
        UniqueFd childs(ends[1]);
        pid = ::fork();
        if (pid == 0) {
            int number = setup.act();
            if (number == 0) {
                ::execve(program.c_str(), const_cast<char* const*>(words), environment.data());
                number = errno;
            }
            // A parent that does not hear of it sees a child that ended at once.
            [[maybe_unused]] const auto told = ::write(childs.get(), &number, sizeof number);
            ::_exit(127);
        }
        int number = pid < 0 ? errno : 0;
        childs.reset();
        while (pid > 0 && ::read(ours.get(), &number, sizeof number) < 0 && errno == EINTR) {
        }
        failure.assign(number, boost::system::system_category());
        if (number != 0) return process::basic_process<Executor>(executor);
        return process::basic_process<Executor>(executor, pid);
    }
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
    const auto environment = null_terminated(spec.environment);
    const ChildSetup setup(spec, steps, null_fd.get());
    Launcher launcher;
    boost::system::error_code failure;
    const std::vector<std::string> arguments(spec.argv.begin() + 1, spec.argv.end());
    auto child = launcher(executor, failure, process::filesystem::path(spec.argv.at(0)), arguments,
                          environment, setup);
    if (failure) {
        // Until a child whose exec failed is gone it holds copies of our descriptors, locks among
        // them. It is on its way out already.
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
