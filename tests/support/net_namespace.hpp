// A network namespace for one test: nothing the test does can be seen or reached from the machine.
#pragma once

#include <linux/capability.h>

#include <string>
#include <vector>

#include "supervisor/base/unique_fd.hpp"

namespace noxsup::test {

/// Moves this (single-threaded) process into fresh network and mount namespaces with a /sys that
/// fits, and back at the end. As another user than root a user namespace is made first, which
/// stays.
class NetNamespace {
  public:
    NetNamespace();
    NetNamespace(const NetNamespace&) = delete;
    NetNamespace& operator=(const NetNamespace&) = delete;
    ~NetNamespace();

    /// Why there is none, or empty: what a skipped test says.
    [[nodiscard]] const std::string& problem() const { return problem_; }

  private:
    /// The step that failed (see errno), or nothing.
    const char* enter();

    std::string problem_;
    UniqueFd old_network_;
    UniqueFd old_mounts_;
};

/// Takes one capability out of the effective set while it lives.
class WithoutCapability {
  public:
    explicit WithoutCapability(unsigned capability);
    WithoutCapability(const WithoutCapability&) = delete;
    WithoutCapability& operator=(const WithoutCapability&) = delete;
    ~WithoutCapability();

  private:
    __user_cap_data_struct before_[2]{};
};

/// Runs a program (found in PATH) to its end; throws with its last words when it fails.
std::string run_program(std::vector<std::string> argv, std::string input = {});

}  // namespace noxsup::test
