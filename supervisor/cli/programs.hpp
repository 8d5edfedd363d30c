// Handing the terminal to another program: in our place, or until it ends.
#pragma once

#include <string>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::cli {

/// Replaces this process. Returns only when that fails. Errors: host_lacks_tool.
Error become(const std::vector<std::string>& argv);

/// Runs it with our standard streams and environment; Ctrl-C reaches it as it would without us.
/// Returns its exit code, 128 + N for an end by signal N. Errors: host_lacks_tool, no_memory.
Result<int> run_in_foreground(const std::vector<std::string>& argv);

}  // namespace noxsup::cli
