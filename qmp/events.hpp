// Typed events: the ones a supervisor acts on, read strictly; all others stay generic.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "qmp/message.hpp"
#include "qmp/replies.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::qmp {

/// qapi/run-state.json, ShutdownCause. `unknown` is one that this build does not know.
enum class ShutdownCause {
    unknown,
    none,
    host_error,
    host_qmp_quit,
    host_qmp_system_reset,
    host_signal,
    host_ui,
    guest_shutdown,
    guest_reset,
    guest_panic,
    subsystem_reset,
    snapshot_load,
};
/// QEMU's word for it: "host-qmp-quit".
std::string_view shutdown_cause_name(ShutdownCause cause);

/// SHUTDOWN (run-state.json): QEMU is about to end, or has paused under -no-shutdown.
struct ShutdownEvent {
    bool guest = false;  ///< the guest asked for it
    ShutdownCause reason = ShutdownCause::unknown;
};
/// RESET (run-state.json).
struct ResetEvent {
    bool guest = false;
    ShutdownCause reason = ShutdownCause::unknown;
};
struct PowerdownEvent {};  ///< POWERDOWN (run-state.json): the button was pressed
struct StopEvent {};       ///< STOP (run-state.json)
struct ResumeEvent {};     ///< RESUME (run-state.json)
struct SuspendEvent {};    ///< SUSPEND (run-state.json): the guest sleeps
struct WakeupEvent {};     ///< WAKEUP (run-state.json)

/// BLOCK_IO_ERROR (block-core.json).
struct BlockIoErrorEvent {
    std::string device;
    std::string node_name;
    bool write = false;
    bool stopped = false;   ///< the action was to stop the machine
    bool no_space = false;  ///< the host's file system is full
    std::string reason;     ///< for people
};
/// BLOCK_IMAGE_CORRUPTED (block-core.json).
struct BlockImageCorruptedEvent {
    std::string device;
    std::string node_name;
    std::string message;
    bool fatal = false;  ///< the node is no longer usable
};
/// GUEST_PANICKED (run-state.json).
struct GuestPanickedEvent {
    std::string action;  ///< "pause", "poweroff", "run"
};
/// DEVICE_DELETED (qdev.json).
struct DeviceDeletedEvent {
    std::string device;  ///< its id, empty when it had none
    std::string path;
};
/// VSERPORT_CHANGE (char.json): the guest opened or closed a virtio-serial port.
struct VserportChangeEvent {
    std::string id;
    bool open = false;
};
/// WATCHDOG (run-state.json).
struct WatchdogEvent {
    std::string
        action;  ///< "reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi"
};
/// MIGRATION (migration.json); sent with the capability "events".
struct MigrationEvent {
    MigrationStatus status = MigrationStatus::unknown;
};
/// BALLOON_CHANGE (machine.json).
struct BalloonChangeEvent {
    std::uint64_t actual = 0;  ///< bytes the guest has
};
/// Any other event.
struct OtherEvent {
    std::string name;
};

using TypedEvent =
    std::variant<ShutdownEvent, ResetEvent, PowerdownEvent, StopEvent, ResumeEvent, SuspendEvent,
                 WakeupEvent, BlockIoErrorEvent, BlockImageCorruptedEvent, GuestPanickedEvent,
                 DeviceDeletedEvent, VserportChangeEvent, WatchdogEvent, MigrationEvent,
                 BalloonChangeEvent, OtherEvent>;

/// Errors: protocol_error naming the event, when a known one has members missing or of wrong types.
Result<TypedEvent> parse_event(const Event& event);

}  // namespace noxsup::qmp
