// A pid namespace for one test: pids in it can be chosen, and nothing in it can signal the machine.
#pragma once

#include <functional>
#include <string>

namespace noxsup::test {

/// What became of the body.
struct NamespaceRun {
    std::string problem;  ///< why no namespace can be made here, or empty
    int status = -1;      ///< exit status of the body's process, as of waitpid(2)
};

/// Runs `body` in a child that is the first process of fresh pid and mount namespaces, with a /proc
/// that fits; its value is the child's exit code. All that it started ends with it. As another user
/// than root it runs in a user namespace of its own.
NamespaceRun run_in_pid_namespace(const std::function<int()>& body);

}  // namespace noxsup::test
