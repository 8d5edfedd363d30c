// What is kept of a VM on disk: its spec and how it last was, in one checksummed text.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/launch/process_identity.hpp"
#include "supervisor/lifecycle/machine.hpp"
#include "supervisor/spec/vm_spec.hpp"
#include "supervisor/state/snapshot.hpp"

namespace noxsup::state {

/// One VM as stored.
///
///   {"noxsup_vm": 1, "checksum": "crc32:xxxxxxxx", "body": {spec, state, reason, qemu, ...}}
///
/// The checksum is over the body's compact dump (keys sorted), so white space does not count.
struct VmRecord {
    spec::VmSpec spec;
    lifecycle::State state = lifecycle::State::stopped;
    lifecycle::Reason reason = lifecycle::Reason::none;
    std::optional<launch::ProcessIdentity>
        qemu;                      ///< of the last start, while it is not known to be gone
    bool restart_pending = false;  ///< the restart policy is to start it again
    std::string started_at;        ///< RFC 3339, of the last start, or empty
    Json stages = Json::array();   ///< [{name, seconds}] of the last start
    std::optional<SavedRam> saved_ram;
    std::vector<std::string> pending;  ///< settings that its QEMU will have after a restart: "cpus"
    std::optional<uid_t> uid;          ///< its QEMU's own one, since the first start by root
    Json confinement;                  ///< of the last start, as status shows it; or null
    std::string boot_mark;  ///< of the disk, when what it boots was looked at last; or empty
    /// Its guest goes on from a template and is not known to be this VM yet.
    bool identity_pending = false;
    std::vector<Snapshot> snapshots;            ///< oldest first
    std::optional<SnapshotWork> snapshot_work;  ///< that is not done yet
    bool operator==(const VmRecord&) const = default;
};

/// What boot_mark says of a disk: another text, once somebody has written to the file. Empty where
/// there is none.
std::string mark_of_disk(const std::filesystem::path& disk);

/// The whole file's text, indented for people.
std::string to_text(const VmRecord& record);

/// The file's text around a body: marker and checksum.
std::string seal(const Json& body);

/// Whose file it is.
enum class RecordKind { ours, foreign, damaged };

/// What a meta.json is: ours by its marker, foreign when it is another tool's JSON object.
struct ParsedRecord {
    RecordKind kind = RecordKind::damaged;
    std::optional<VmRecord> record;  ///< with kind ours
    std::string problem;             ///< with kind damaged
};

/// Never fails: what cannot be read is damaged, with the reason.
ParsedRecord parse_record(std::string_view text);

}  // namespace noxsup::state
