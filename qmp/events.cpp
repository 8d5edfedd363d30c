#include "qmp/events.hpp"

#include <array>
#include <utility>

namespace noxsup::qmp {
namespace {

// qapi/run-state.json, ShutdownCause, in the order of our enumeration.
constexpr std::array<std::string_view, 12> causes = {
    "unknown",         "none",         "host-error",     "host-qmp-quit", "host-qmp-system-reset",
    "host-signal",     "host-ui",      "guest-shutdown", "guest-reset",   "guest-panic",
    "subsystem-reset", "snapshot-load"};

ShutdownCause cause_from_name(std::string_view name) {
    for (std::size_t i = 0; i < causes.size(); ++i) {
        if (causes[i] == name) return static_cast<ShutdownCause>(i);
    }
    return ShutdownCause::unknown;
}

/// ShutdownEvent and ResetEvent have the same members.
template <class T>
Result<TypedEvent> parse_cause(const Json& data) {
    T event;
    NOXSUP_TRY_VALUE(event.guest, json_member<bool>(data, "guest"));
    NOXSUP_TRY_VALUE(const auto reason, json_member_or<std::string>(data, "reason", "unknown"));
    event.reason = cause_from_name(reason);
    return TypedEvent(event);
}

template <class T>
Result<TypedEvent> parse_empty(const Json& /*data*/) {
    return TypedEvent(T{});
}

/// GuestPanickedEvent and WatchdogEvent have one member.
template <class T>
Result<TypedEvent> parse_action(const Json& data) {
    T event;
    NOXSUP_TRY_VALUE(event.action, json_member<std::string>(data, "action"));
    return TypedEvent(std::move(event));
}

Result<TypedEvent> parse_block_io_error(const Json& data) {
    BlockIoErrorEvent event;
    NOXSUP_TRY_VALUE(event.device, json_member_or<std::string>(data, "device", {}));
    NOXSUP_TRY_VALUE(event.node_name, json_member_or<std::string>(data, "node-name", {}));
    NOXSUP_TRY_VALUE(const auto operation, json_member<std::string>(data, "operation"));
    NOXSUP_TRY_VALUE(const auto action, json_member<std::string>(data, "action"));
    NOXSUP_TRY_VALUE(event.no_space, json_member_or<bool>(data, "nospace", false));
    NOXSUP_TRY_VALUE(event.reason, json_member_or<std::string>(data, "reason", {}));
    event.write = operation == "write";
    event.stopped = action == "stop";
    return TypedEvent(std::move(event));
}

Result<TypedEvent> parse_image_corrupted(const Json& data) {
    BlockImageCorruptedEvent event;
    NOXSUP_TRY_VALUE(event.device, json_member_or<std::string>(data, "device", {}));
    NOXSUP_TRY_VALUE(event.node_name, json_member_or<std::string>(data, "node-name", {}));
    NOXSUP_TRY_VALUE(event.message, json_member<std::string>(data, "msg"));
    NOXSUP_TRY_VALUE(event.fatal, json_member<bool>(data, "fatal"));
    return TypedEvent(std::move(event));
}

Result<TypedEvent> parse_device_deleted(const Json& data) {
    DeviceDeletedEvent event;
    NOXSUP_TRY_VALUE(event.device, json_member_or<std::string>(data, "device", {}));
    NOXSUP_TRY_VALUE(event.path, json_member<std::string>(data, "path"));
    return TypedEvent(std::move(event));
}

Result<TypedEvent> parse_vserport(const Json& data) {
    VserportChangeEvent event;
    NOXSUP_TRY_VALUE(event.id, json_member<std::string>(data, "id"));
    NOXSUP_TRY_VALUE(event.open, json_member<bool>(data, "open"));
    return TypedEvent(std::move(event));
}

Result<TypedEvent> parse_migration_event(const Json& data) {
    NOXSUP_TRY_VALUE(const auto status, json_member<std::string>(data, "status"));
    return TypedEvent(MigrationEvent{migration_status_from_name(status)});
}

Result<TypedEvent> parse_balloon_change(const Json& data) {
    NOXSUP_TRY_VALUE(const auto actual, json_member<std::uint64_t>(data, "actual"));
    return TypedEvent(BalloonChangeEvent{actual});
}

struct Known {
    std::string_view name;
    Result<TypedEvent> (*parse)(const Json& data);
};

constexpr std::array<Known, 15> known_events = {{
    {"SHUTDOWN", &parse_cause<ShutdownEvent>},
    {"RESET", &parse_cause<ResetEvent>},
    {"POWERDOWN", &parse_empty<PowerdownEvent>},
    {"STOP", &parse_empty<StopEvent>},
    {"RESUME", &parse_empty<ResumeEvent>},
    {"SUSPEND", &parse_empty<SuspendEvent>},
    {"WAKEUP", &parse_empty<WakeupEvent>},
    {"BLOCK_IO_ERROR", &parse_block_io_error},
    {"BLOCK_IMAGE_CORRUPTED", &parse_image_corrupted},
    {"GUEST_PANICKED", &parse_action<GuestPanickedEvent>},
    {"DEVICE_DELETED", &parse_device_deleted},
    {"VSERPORT_CHANGE", &parse_vserport},
    {"WATCHDOG", &parse_action<WatchdogEvent>},
    {"MIGRATION", &parse_migration_event},
    {"BALLOON_CHANGE", &parse_balloon_change},
}};

}  // namespace

std::string_view shutdown_cause_name(ShutdownCause cause) {
    return causes.at(static_cast<std::size_t>(cause));
}

Result<TypedEvent> parse_event(const Event& event) {
    for (const auto& known : known_events) {
        if (known.name != event.name) continue;
        auto parsed = known.parse(event.data);
        if (!parsed) return std::move(parsed).error().context("QMP event " + event.name);
        return parsed;
    }
    return TypedEvent(OtherEvent{event.name});
}

}  // namespace noxsup::qmp
