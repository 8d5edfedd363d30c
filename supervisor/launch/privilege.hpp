// What rights a QEMU process runs with: the plan as data, and how the child carries it out before
// exec.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "supervisor/base/child_steps.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::launch {

/// Whom a device file lets in.
struct DeviceRights {
    gid_t group = 0;
    mode_t mode = 0;
};

/// /dev/kvm's; nothing when it is not there.
std::optional<DeviceRights> kvm_device_rights();

/// The rights of one QEMU; see fence.hpp for the files it may open. In every case: no capabilities,
/// no_new_privs, no core dumps, limits.
struct Confinement {
    std::optional<uid_t> uid;   ///< its own uid and gid; none: the supervisor's
    std::vector<gid_t> groups;  ///< exactly these beside it; with an own uid only
    // No number: as the supervisor's own.
    std::optional<std::uint64_t> max_open_files;  ///< RLIMIT_NOFILE
    std::optional<std::uint64_t> max_file_bytes;  ///< RLIMIT_FSIZE
    std::optional<std::uint64_t> max_tasks;       ///< RLIMIT_NPROC; it counts all of a uid's
    std::string cgroup;                           ///< path of the leaf that limits it, or empty
    int landlock = 0;  ///< version of the kernel's Landlock for the fence; 0: there is none
    bool operator==(const Confinement&) const = default;
};

/// Threads that QEMU may have: its vCPUs and its workers.
std::uint64_t max_tasks(const spec::VmSpec& spec);

/// What a VM needs and no more.
/// @param uid its own one, where the supervisor has any to give
/// @param kvm whom /dev/kvm lets in; an own uid gets in through its group alone
/// Errors: host_lacks_right when KVM is asked for and its device lets in no group but root's.
Result<Confinement> plan_confinement(const spec::VmSpec& spec, std::optional<uid_t> uid,
                                     const std::optional<DeviceRights>& kvm);

/// The plan as steps of the child; the user changes near the end, no_new_privs is the last.
std::vector<ChildStep> child_steps(const Confinement& confinement);

/// As `status` shows it.
Json to_json(const Confinement& confinement);

}  // namespace noxsup::launch
