// A VM's snapshots as its record keeps them, and what is under way with one of them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/lifecycle/machine.hpp"

namespace noxsup::state {

/// A guest's RAM on the disk, in the VM's file `ram-state`. Its being recorded means that the guest
/// has not run since it was saved: it is struck out before the guest may take another step.
struct SavedRam {
    std::vector<std::string> key;  ///< launch::ram_state_key of the QEMU that saved it
    std::string saved_at;          ///< RFC 3339
    /// What it was known to have, by the MAC address of each card: a guest that goes on does not
    /// ask a DHCP server again, so nobody would learn it.
    std::map<std::string, std::vector<std::string>> addresses{};
    bool operator==(const SavedRam&) const = default;
};

/// One snapshot: a point in time of the disk, inside the disk's own file, and files beside it.
///
///   disk.qcow2              internal snapshot TAG
///   snapshots/TAG.efivars   the firmware's variables, where the VM has some
///   snapshots/TAG.ram       the guest's memory, where it was saved too
struct Snapshot {
    std::string name;
    std::string tag;         ///< "NAME.8HEX": of this snapshot alone, and never a number
    std::string created_at;  ///< RFC 3339
    std::string comment;
    lifecycle::State state = lifecycle::State::stopped;  ///< of the VM then
    bool frozen = false;  ///< the guest's agent had frozen its file systems
    unsigned cpus = 0;
    std::uint64_t memory_bytes = 0;
    std::uint64_t disk_virtual_bytes = 0;
    std::uint64_t disk_used_bytes = 0;  ///< what the disk's file took then
    std::uint64_t files_bytes = 0;      ///< what the files beside it take
    bool firmware_vars = false;
    std::optional<SavedRam> ram;
    bool operator==(const Snapshot&) const = default;
};

/// What is being done with a snapshot. Recorded before anything is done, struck out when all is:
/// whoever finds it in a record carries it out (restore, remove) or takes it back (create).
enum class SnapshotStep { create, restore, remove };
struct SnapshotWork {
    SnapshotStep step = SnapshotStep::create;
    std::string tag;
    bool resume = false;  ///< create: the guest ran and is to go on
    bool thaw = false;    ///< create: its file systems may be frozen
    bool ram = false;     ///< restore: the memory belongs to it
    bool operator==(const SnapshotWork&) const = default;
};

/// As many as a VM may have: its record stays small.
inline constexpr std::size_t max_snapshots = 100;

/// A letter or digit, then at most 62 of those and of "._-". Errors: invalid_name.
Result<> check_snapshot_name(std::string_view name);
/// "snap1", or the first such name that is free.
std::string next_snapshot_name(const std::vector<Snapshot>& snapshots);
/// Where it is in the list. Errors: the one for a snapshot that is not there (exit code 4).
Result<std::size_t> find_snapshot(const std::vector<Snapshot>& snapshots, std::string_view name,
                                  std::string_view vm);

/// How whole the guest's data is: "off", "suspended", "ram" (nothing is missing), "frozen" (file
/// systems are whole), "crash" (as after a power cut).
std::string_view consistency_of(const Snapshot& snapshot);

Json to_json(const SavedRam& ram);
Result<SavedRam> saved_ram_from_json(const Json& json);
Json to_json(const Snapshot& snapshot);
/// Errors: protocol_error.
Result<Snapshot> snapshot_from_json(const Json& json);
Json to_json(const SnapshotWork& work);
/// Errors: protocol_error.
Result<SnapshotWork> snapshot_work_from_json(const Json& json);

}  // namespace noxsup::state
