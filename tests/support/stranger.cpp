#include "tests/support/stranger.hpp"

#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

#include "supervisor/base/text.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::test {
namespace {

/// fork(2) with a choice of the pid; the child may make plain system calls only.
pid_t fork_as(pid_t pid) {
    clone_args arguments{};
    arguments.exit_signal = SIGCHLD;
    if (pid != 0) {
        arguments.set_tid = reinterpret_cast<std::uintptr_t>(&pid);
        arguments.set_tid_size = 1;
    }
    return static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof(arguments)));
}

}  // namespace

Stranger::Stranger(pid_t pid) {
    sigset_t all, before;
    ::sigfillset(&all);
    ::sigprocmask(SIG_BLOCK, &all, &before);
    pid_ = fork_as(pid);
    if (pid_ == 0) {
        ::syscall(SYS_close_range, 3U, ~0U, 0U);
        for (;;) ::syscall(SYS_ppoll, nullptr, 0, nullptr, nullptr, 0);
    }
    const int failure = errno;
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    if (pid_ < 0) throw std::system_error(failure, std::generic_category(), "clone3");
}

Stranger::~Stranger() {
    end();
}

void Stranger::end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
}

std::string Stranger::touched() const {
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) !=
        0) {
        return "it is gone";
    }
    if (info.si_pid != 0) return info.si_code == CLD_STOPPED ? "it was stopped" : "it was killed";
    for (const auto& line : split(slurp("/proc/" + std::to_string(pid_) + "/status"), '\n')) {
        if (!line.starts_with("SigPnd:") && !line.starts_with("ShdPnd:")) continue;
        if (line.find_first_not_of("0\t ", line.find(':') + 1) != std::string::npos)
            return "signals are pending: " + line;
    }
    return "";
}

}  // namespace noxsup::test
