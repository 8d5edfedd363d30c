// Pidfds: one process held by a descriptor, so that no signal ever reaches a stranger with its
// number.
#pragma once

#include <sys/types.h>

#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup {

/// A pidfd of any process (pidfd_open(2)). Errors: io_error; ESRCH is told as "no such process".
Result<UniqueFd> open_pidfd(pid_t pid);

/// pidfd_send_signal(2). A process that is already gone is no error.
Result<> send_signal(int pidfd, int signal);

/// True once the process behind the pidfd has ended (reaped or not).
bool process_ended(int pidfd);

}  // namespace noxsup
