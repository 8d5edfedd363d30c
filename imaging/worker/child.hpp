// Runs the one foreign program that a confined worker may, to its end.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::imaging::worker {

struct ChildEnd {
    int status = 0;      ///< as waitpid() has it
    std::string errors;  ///< the last 8 KiB of its standard error
};

/// @param argv an absolute path first  @param keep descriptors it keeps under their numbers
/// @param memory bytes of address space  @param on_output gets its standard output as it comes
/// Blocks until it has ended. Errors: io_error when it cannot be started.
Result<ChildEnd> run_child(const std::vector<std::string>& argv, const std::vector<int>& keep,
                           std::uint64_t memory,
                           const std::function<void(std::string_view)>& on_output);

/// The path by which a child opens a descriptor that it keeps.
std::string reopened(int fd);

}  // namespace noxsup::imaging::worker
