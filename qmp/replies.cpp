#include "qmp/replies.hpp"

#include <array>
#include <utility>

namespace noxsup::qmp {
namespace {

// qapi/run-state.json, RunState, in the order of our enumeration.
constexpr std::array<std::string_view, 17> run_states = {
    "unknown",     "debug",     "inmigrate",      "internal-error", "io-error", "paused",
    "postmigrate", "prelaunch", "finish-migrate", "restore-vm",     "running",  "save-vm",
    "shutdown",    "suspended", "watchdog",       "guest-panicked", "colo"};

// qapi/migration.json, MigrationStatus, in the order of our enumeration.
constexpr std::array<std::string_view, 15> migration_states = {
    "unknown",          "none",      "setup",           "cancelling",
    "cancelled",        "active",    "postcopy-active", "postcopy-paused",
    "postcopy-recover", "completed", "failed",          "colo",
    "pre-switchover",   "device",    "wait-unplug"};

template <class Enum, std::size_t size>
Enum from_name(const std::array<std::string_view, size>& names, std::string_view name) {
    for (std::size_t i = 0; i < size; ++i) {
        if (names[i] == name) return static_cast<Enum>(i);
    }
    return Enum::unknown;
}

Error shape(std::string_view command, std::string_view problem) {
    return {ErrorCode::protocol_error,
            "QMP " + std::string(command) + ": the reply " + std::string(problem)};
}

/// parse(item) for each item of an array.
template <class T, class Parse>
Result<std::vector<T>> each(std::string_view command, const Json& value, Parse parse) {
    if (!value.is_array()) return shape(command, "is no list");
    std::vector<T> items;
    items.reserve(value.size());
    for (const auto& item : value) {
        auto parsed = parse(item);
        if (!parsed) return std::move(parsed).error().context("QMP " + std::string(command));
        items.push_back(std::move(*parsed));
    }
    return items;
}

Result<BlockNode> parse_node(const Json& value) {
    BlockNode node;
    NOXSUP_TRY_VALUE(node.node_name, json_member_or<std::string>(value, "node-name", {}));
    NOXSUP_TRY_VALUE(node.driver, json_member<std::string>(value, "drv"));
    NOXSUP_TRY_VALUE(node.file, json_member<std::string>(value, "file"));
    NOXSUP_TRY_VALUE(node.read_only, json_member<bool>(value, "ro"));
    NOXSUP_TRY_VALUE(const auto image, json_member<Json>(value, "image"));
    NOXSUP_TRY_VALUE(node.virtual_size, json_member<std::uint64_t>(image, "virtual-size"));
    if (image.contains("actual-size")) {
        NOXSUP_TRY_VALUE(node.actual_size, json_member<std::uint64_t>(image, "actual-size"));
    }
    return node;
}

Result<BlockDevice> parse_device(const Json& value) {
    BlockDevice device;
    NOXSUP_TRY_VALUE(device.device, json_member<std::string>(value, "device"));
    NOXSUP_TRY_VALUE(device.qdev, json_member_or<std::string>(value, "qdev", {}));
    if (value.contains("inserted")) {
        NOXSUP_TRY_VALUE(device.inserted, parse_node(value["inserted"]));
    }
    NOXSUP_TRY_VALUE(const auto status, json_member_or<std::string>(value, "io-status", {}));
    if (status == "ok") device.io_status = IoStatus::ok;
    if (status == "failed") device.io_status = IoStatus::failed;
    if (status == "nospace") device.io_status = IoStatus::no_space;
    return device;
}

Result<Chardev> parse_chardev(const Json& value) {
    Chardev chardev;
    NOXSUP_TRY_VALUE(chardev.label, json_member<std::string>(value, "label"));
    NOXSUP_TRY_VALUE(chardev.filename, json_member<std::string>(value, "filename"));
    NOXSUP_TRY_VALUE(chardev.frontend_open, json_member<bool>(value, "frontend-open"));
    return chardev;
}

Result<Cpu> parse_cpu(const Json& value) {
    Cpu cpu;
    NOXSUP_TRY_VALUE(cpu.index, json_member<int>(value, "cpu-index"));
    NOXSUP_TRY_VALUE(cpu.thread_id, json_member<int>(value, "thread-id"));
    NOXSUP_TRY_VALUE(cpu.qom_path, json_member<std::string>(value, "qom-path"));
    NOXSUP_TRY_VALUE(cpu.target, json_member<std::string>(value, "target"));
    return cpu;
}

}  // namespace

std::string_view run_state_name(RunState state) {
    return run_states.at(static_cast<std::size_t>(state));
}

RunState run_state_from_name(std::string_view name) {
    return from_name<RunState>(run_states, name);
}

MigrationStatus migration_status_from_name(std::string_view name) {
    return from_name<MigrationStatus>(migration_states, name);
}

bool is_final(MigrationStatus status) {
    return status == MigrationStatus::completed || status == MigrationStatus::failed ||
           status == MigrationStatus::cancelled;
}

Result<StatusInfo> parse_status(const Json& value) {
    StatusInfo info;
    NOXSUP_TRY_VALUE(info.state_text, json_member<std::string>(value, "status"));
    NOXSUP_TRY_VALUE(info.running, json_member<bool>(value, "running"));
    info.state = run_state_from_name(info.state_text);
    return info;
}

Result<std::vector<BlockDevice>> parse_block_devices(const Json& value) {
    return each<BlockDevice>("query-block", value, parse_device);
}

Result<std::vector<BlockNode>> parse_block_nodes(const Json& value) {
    return each<BlockNode>("query-named-block-nodes", value, parse_node);
}

Result<std::uint64_t> parse_balloon(const Json& value) {
    return json_member<std::uint64_t>(value, "actual");
}

Result<std::vector<Chardev>> parse_chardevs(const Json& value) {
    return each<Chardev>("query-chardev", value, parse_chardev);
}

Result<std::vector<Cpu>> parse_cpus(const Json& value) {
    return each<Cpu>("query-cpus-fast", value, parse_cpu);
}

Result<KvmInfo> parse_kvm(const Json& value) {
    KvmInfo info;
    NOXSUP_TRY_VALUE(info.enabled, json_member<bool>(value, "enabled"));
    NOXSUP_TRY_VALUE(info.present, json_member<bool>(value, "present"));
    return info;
}

Result<FdsetMember> parse_fdset_member(const Json& value) {
    FdsetMember member;
    NOXSUP_TRY_VALUE(member.fdset_id, json_member<std::int64_t>(value, "fdset-id"));
    NOXSUP_TRY_VALUE(member.fd, json_member<std::int64_t>(value, "fd"));
    return member;
}

Result<MigrationInfo> parse_migration(const Json& value) {
    if (!value.is_object()) return shape("query-migrate", "is no object");
    MigrationInfo info;
    NOXSUP_TRY_VALUE(const auto status, json_member_or<std::string>(value, "status", "none"));
    info.status = migration_status_from_name(status);
    NOXSUP_TRY_VALUE(info.error, json_member_or<std::string>(value, "error-desc", {}));
    NOXSUP_TRY_VALUE(info.total_milliseconds, json_member_or<std::int64_t>(value, "total-time", 0));
    NOXSUP_TRY_VALUE(const auto ram, json_member_or<Json>(value, "ram", Json::object()));
    NOXSUP_TRY_VALUE(info.ram_transferred, json_member_or<std::uint64_t>(ram, "transferred", 0));
    NOXSUP_TRY_VALUE(info.ram_remaining, json_member_or<std::uint64_t>(ram, "remaining", 0));
    NOXSUP_TRY_VALUE(info.ram_total, json_member_or<std::uint64_t>(ram, "total", 0));
    return info;
}

}  // namespace noxsup::qmp
