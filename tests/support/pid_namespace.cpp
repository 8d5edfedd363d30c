#include "tests/support/pid_namespace.hpp"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "tests/support/user_namespace.hpp"

namespace noxsup::test {
namespace {

/// The exit code of a child that could not make its namespace, with errno in its pipe.
constexpr int no_namespace = 99;

[[noreturn]] void give_up(int pipe) {
    const int failure = errno;
    static_cast<void>(!::write(pipe, &failure, sizeof(failure)));
    ::_exit(no_namespace);
}

int wait_for(pid_t child) {
    int status = -1;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

[[noreturn]] void first_process(const std::function<int()>& body, int pipe) {
    if (::mount("proc", "/proc", "proc", 0, nullptr) != 0) give_up(pipe);
    ::close(pipe);
    const int code = body();
    std::fflush(nullptr);
    ::_exit(code);
}

[[noreturn]] void make_namespace(const std::function<int()>& body, int pipe) {
    if (::geteuid() != 0 && !become_root_inside()) give_up(pipe);
    if (::unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) give_up(pipe);
    if (::mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr) != 0) give_up(pipe);
    const auto first = ::fork();
    if (first < 0) give_up(pipe);
    if (first == 0) first_process(body, pipe);
    ::close(pipe);
    const int status = wait_for(first);
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

}  // namespace

NamespaceRun run_in_pid_namespace(const std::function<int()>& body) {
    int ends[2] = {-1, -1};
    if (::pipe(ends) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    std::fflush(nullptr);
    const auto child = ::fork();
    if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (child == 0) {
        ::close(ends[0]);
        make_namespace(body, ends[1]);
    }
    ::close(ends[1]);
    int failure = 0;
    NamespaceRun run;
    if (::read(ends[0], &failure, sizeof(failure)) == sizeof(failure)) {
        run.problem =
            "no pid namespace can be made here: " + std::generic_category().message(failure);
    }
    ::close(ends[0]);
    run.status = wait_for(child);
    return run;
}

}  // namespace noxsup::test
