// Limits by cgroup v2: a leaf for each VM below the cgroup that was delegated to the supervisor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "supervisor/base/child_steps.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::launch {

/// What one VM may use at most.
struct CgroupLimits {
    std::uint64_t memory_bytes = 0;  ///< memory.max
    std::uint64_t tasks = 0;         ///< pids.max
    unsigned cpu_percent = 0;        ///< cpu.max, 100 a CPU
    bool operator==(const CgroupLimits&) const = default;
};

/// A guest's RAM and what its QEMU needs beside it.
CgroupLimits cgroup_limits(const spec::VmSpec& spec);

/// The path of this process in the cgroup v2 tree, from /proc/self/cgroup: "/system.slice/...";
/// nothing when there is no v2 tree.
std::optional<std::string> parse_own_cgroup(std::string_view text);

/// The cgroup below which leaves are made, or why there is none. A node of the tree that has
/// controllers for its children holds no process itself, so the supervisor moves into a leaf too:
///
///   noxsup.service/            delegated (Delegate=yes); +cpu +memory +pids for what is below
///     supervisor/              this process and its short-lived helpers
///     vm-3f2a9c41/             one QEMU
class CgroupTree {
  public:
    CgroupTree() : why_none_("no cgroup was looked for") {}
    /// Looks at this process's cgroup; takes it where it was delegated (systemd marks it so).
    static CgroupTree find();
    /// Takes a directory of a cgroup v2 tree, or a test's. Never fails: it says why_none().
    static CgroupTree take(std::filesystem::path directory);

    /// Empty when leaves can be made.
    [[nodiscard]] const std::string& why_none() const { return why_none_; }
    [[nodiscard]] std::filesystem::path leaf(std::string_view vm_id) const;

    /// Makes the leaf with its limits; returns a descriptor through which a process enters it.
    /// @pre why_none() is empty. Errors: io_error.
    [[nodiscard]] Result<UniqueFd> make_leaf(std::string_view vm_id,
                                             const CgroupLimits& limits) const;
    /// Puts the limits of a living VM on again: they were lifted while no supervisor was there.
    [[nodiscard]] Result<> limit(std::string_view vm_id, const CgroupLimits& limits) const;
    /// How often the kernel has killed a process of the leaf for want of memory; 0 when unknown.
    [[nodiscard]] std::uint64_t oom_kills(std::string_view vm_id) const;
    /// Removes an empty leaf; one that is not there is fine.
    void remove_leaf(std::string_view vm_id) const;

  private:
    std::filesystem::path directory_;
    std::string why_none_;
};

/// The child enters the leaf, before it uses memory and before it gives up its rights.
/// @param processes borrowed: from make_leaf()
ChildStep cgroup_step(int processes);

}  // namespace noxsup::launch
