// The files that a QEMU may open by name: those it needs to start and to run, and none of ours.
#pragma once

#include <string>
#include <vector>

#include "supervisor/base/child_steps.hpp"
#include "supervisor/base/landlock.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::launch {

/// What a fence is made for.
struct FenceRequest {
    std::string program;        ///< the one program that may be executed
    bool kvm = false;           ///< /dev/kvm
    bool user_network = false;  ///< any TCP port; name servers of the host, now and later
    std::vector<int> reopened;  ///< borrowed; files that QEMU opens again by /proc/self/fd/N
};

FenceRequest fence_request(const spec::VmSpec& spec, std::string program,
                           std::vector<int> reopened);

/// Landlock rules for it: system libraries and QEMU's data, a few devices, its own /proc; no other
/// file, no TCP but for user-mode networking, no signal to and no abstract socket of a process
/// outside. @pre landlock_abi() > 0. Errors: io_error.
Result<LandlockRules> make_fence(const FenceRequest& request);

/// Puts it on, once no_new_privs is set. @pre `fence` outlives the spawn
ChildStep fence_step(const LandlockRules& fence);

}  // namespace noxsup::launch
