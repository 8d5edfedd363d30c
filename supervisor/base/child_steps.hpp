// What a child does to itself between fork and exec, step by step, each with a name for its
// failure.
#pragma once

#include <functional>
#include <vector>

#include "supervisor/base/process.hpp"

namespace noxsup {

/// One step. `act` runs in the child: system calls alone, no allocation, no locks. It returns 0 or
/// an errno; then nothing is executed and spawn() says "run PROGRAM: NAME: ...".
struct ChildStep {
    const char* name;
    std::function<int()> act;
};

/// spawn() with steps that run last, in order, when the child has its streams and descriptors.
/// Errors: as spawn(); command_failed for a step.
Result<Child> spawn(const boost::asio::any_io_executor& executor, const SpawnSpec& spec,
                    const std::vector<ChildStep>& steps);

}  // namespace noxsup
