// Files in memory that QEMU opens once more by their descriptor's name: once sealed they are for
// reading, or for copies of their pages.
#pragma once

#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::launch {

/// An empty one. @param name as /proc shows it. Errors: no_space, io_error.
Result<UniqueFd> make_memory_file(const char* name);

/// Nobody writes to it any more, changes its size or lifts that. Errors: io_error (also while
/// somebody has it mapped for writing).
Result<> seal_memory_file(int fd);

}  // namespace noxsup::launch
