#include "supervisor/base/pidfd.hpp"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace noxsup {

Result<UniqueFd> open_pidfd(pid_t pid) {
    UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U)));
    if (!fd) return errno_error("pidfd of process " + std::to_string(pid), errno);
    // The kernel sets CLOEXEC on every pidfd.
    return fd;
}

Result<> send_signal(int pidfd, int signal) {
    if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0U) != 0 && errno != ESRCH) {
        return errno_error("send signal " + std::to_string(signal), errno);
    }
    return {};
}

bool process_ended(int pidfd) {
    pollfd entry{pidfd, POLLIN, 0};
    return ::poll(&entry, 1, 0) == 1;
}

}  // namespace noxsup
