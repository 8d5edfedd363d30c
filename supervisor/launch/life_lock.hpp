// The lock that is held exactly as long as a VM's QEMU lives, whatever becomes of the supervisor.
#pragma once

#include <filesystem>

#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::launch {

/// Takes the lock (an open file description lock, fcntl F_OFD_SETLK). It belongs to the open
/// description: QEMU inherits the descriptor and keeps it until it ends, also by SIGKILL. Errors:
/// wrong_state when another holds it ("QEMU of this VM is still alive"); io_error.
Result<UniqueFd> take_life_lock(const std::filesystem::path& path);

/// True while someone holds it. Only asks (F_OFD_GETLK), so it never disturbs a start. A missing
/// file is an unheld lock. Errors: io_error.
Result<bool> life_lock_held(const std::filesystem::path& path);

}  // namespace noxsup::launch
