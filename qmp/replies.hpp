// What QEMU's replies hold, as types: the values a supervisor reads, and strict parsers for them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qmp/message.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::qmp {

/// qapi/run-state.json, RunState. `unknown` is a state that this build does not know.
enum class RunState {
    unknown,
    debug,
    inmigrate,
    internal_error,
    io_error,
    paused,
    postmigrate,
    prelaunch,
    finish_migrate,
    restore_vm,
    running,
    save_vm,
    shutdown,
    suspended,
    watchdog,
    guest_panicked,
    colo,
};
/// QEMU's word for it: "guest-panicked".
std::string_view run_state_name(RunState state);
RunState run_state_from_name(std::string_view name);

/// qapi/run-state.json, StatusInfo.
struct StatusInfo {
    RunState state = RunState::unknown;
    std::string state_text;  ///< as QEMU wrote it
    bool running = false;    ///< vCPUs are executing
};

/// qapi/block-core.json, BlockDeviceIoStatus.
enum class IoStatus { ok, failed, no_space };

/// qapi/block-core.json, BlockDeviceInfo with the sizes of its ImageInfo.
struct BlockNode {
    std::string node_name;
    std::string driver;  ///< "qcow2", "file", "raw"
    std::string file;    ///< QEMU's name for what it opened; for people only
    bool read_only = false;
    std::uint64_t virtual_size = 0;            ///< bytes the guest sees
    std::optional<std::uint64_t> actual_size;  ///< bytes taken on the host
};

/// qapi/block-core.json, BlockInfo: one device of the guest.
struct BlockDevice {
    std::string device;  ///< name of the legacy backend, empty with -blockdev
    std::string qdev;    ///< id or QOM path of the guest's device
    std::optional<BlockNode> inserted;
    std::optional<IoStatus> io_status;  ///< set with werror=stop or rerror=stop
};

/// qapi/char.json, ChardevInfo.
struct Chardev {
    std::string label;
    std::string filename;
    bool frontend_open = false;
};

/// qapi/machine.json, CpuInfoFast.
struct Cpu {
    int index = 0;
    int thread_id = 0;  ///< of the host
    std::string qom_path;
    std::string target;  ///< "aarch64", "x86_64"
};

/// qapi/machine.json, KvmInfo.
struct KvmInfo {
    bool enabled = false;
    bool present = false;
};

/// qapi/misc.json, AddfdInfo.
struct FdsetMember {
    std::int64_t fdset_id = 0;
    std::int64_t fd = 0;  ///< QEMU's number for it
};

/// qapi/migration.json, MigrationStatus. `unknown` is one that this build does not know.
enum class MigrationStatus {
    unknown,
    none,
    setup,
    cancelling,
    cancelled,
    active,
    postcopy_active,
    postcopy_paused,
    postcopy_recover,
    completed,
    failed,
    colo,
    pre_switchover,
    device,
    wait_unplug,
};
MigrationStatus migration_status_from_name(std::string_view name);
/// True where QEMU will do nothing more: completed, failed, cancelled.
bool is_final(MigrationStatus status);

/// qapi/migration.json, MigrationInfo.
struct MigrationInfo {
    MigrationStatus status = MigrationStatus::none;  ///< none where there never was a migration
    std::string error;                               ///< QEMU's words for a failed one
    std::uint64_t ram_transferred = 0;               ///< bytes
    std::uint64_t ram_remaining = 0;
    std::uint64_t ram_total = 0;
    std::int64_t total_milliseconds = 0;
};

/// Each parser: the value of "return" to its type. Errors: protocol_error naming the member.
Result<StatusInfo> parse_status(const Json& value);
Result<std::vector<BlockDevice>> parse_block_devices(const Json& value);
Result<std::vector<BlockNode>> parse_block_nodes(const Json& value);
Result<std::uint64_t> parse_balloon(const Json& value);  ///< BalloonInfo: bytes
Result<std::vector<Chardev>> parse_chardevs(const Json& value);
Result<std::vector<Cpu>> parse_cpus(const Json& value);
Result<KvmInfo> parse_kvm(const Json& value);
Result<FdsetMember> parse_fdset_member(const Json& value);
Result<MigrationInfo> parse_migration(const Json& value);

}  // namespace noxsup::qmp
