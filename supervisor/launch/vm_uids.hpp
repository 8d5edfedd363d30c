// The uids that root's supervisor gives to the QEMUs of its VMs: one each, of a range that is
// nobody's.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::launch {

/// Both ends included.
struct UidRange {
    uid_t first = 0;
    uid_t last = 0;
    [[nodiscard]] bool contains(uid_t uid) const { return first <= uid && uid <= last; }
    bool operator==(const UidRange&) const = default;
};

/// Between what a Linux system gives out by itself: accounts and systemd's dynamic users end at
/// 65533, subordinate ids (containers) begin at 100000 on Debian and at 524288 with systemd. And
/// not 65536, which is root to whoever still cuts ids to 16 bits.
inline constexpr UidRange default_vm_uids{70'000, 79'999};

/// "FIRST-LAST". Errors: invalid_argument; also for a range with ids of the system (below 1000,
/// 65534, 65535, the two highest).
Result<UidRange> parse_uid_range(std::string_view text);

/// The ids that /etc/subuid or /etc/subgid (subuid(5)) gives to users' containers. Lines that are
/// none are skipped.
std::vector<UidRange> parse_subordinate_ids(std::string_view text);

/// True when a user namespace with this /proc/self/uid_map has all these uids.
bool maps_uids(std::string_view uid_map, const UidRange& range);

/// A uid for the VM with this short id: the same one each time as long as it is free, so that two
/// homes hardly ever meet. Errors: no_uids ("all uids ... are in use") when none is free.
Result<uid_t> choose_uid(const UidRange& range, std::string_view vm_id,
                         const std::function<bool(uid_t)>& is_free);

/// Gives uids out. Only root can: for everyone else, and in a user namespace without those ids,
/// there are none.
class VmUids {
  public:
    /// Reads this process's rights. @param range those to give
    explicit VmUids(UidRange range);
    /// Why there are none; empty when there are.
    [[nodiscard]] const std::string& why_none() const { return why_none_; }

    /// The uid for a VM's next start: the one it had, unless that is in use or out of range by
    /// now. No account, no group, no subordinate id and no living process has it.
    /// @param taken those of other VMs. Returns nothing where there are none. Errors: no_memory.
    [[nodiscard]] Result<std::optional<uid_t>> choose(std::optional<uid_t> had,
                                                      std::string_view vm_id,
                                                      const std::set<uid_t>& taken) const;

  private:
    UidRange range_;
    std::string why_none_;
};

}  // namespace noxsup::launch
