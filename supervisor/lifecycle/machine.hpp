// The life of a VM as a state machine without I/O: what happened goes in, state and reason come
// out.
#pragma once

#include <string_view>

#include "supervisor/base/process.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::lifecycle {

/// The states of cli.md.
enum class State {
    creating,
    stopped,
    starting,
    running,
    paused,
    stopping,
    suspended,
    unresponsive,
    failed,
    damaged,
    foreign,
};

/// Why a VM is in its state.
enum class Reason {
    none,
    user,
    guest_shutdown,
    guest_reset,
    guest_panic,
    qemu_exit,
    killed,
    oom,
    no_space,
    io_error,
    timeout,
    crash_loop,
    host_shutdown,
    unknown,
};

/// The words of JSON and tables: "unresponsive", "guest-shutdown"; "" for Reason::none.
std::string_view to_string(State state);
std::string_view to_string(Reason reason);
/// Errors: protocol_error.
Result<State> state_from_string(std::string_view word);
Result<Reason> reason_from_string(std::string_view word);

/// Follows one VM. QEMU's events only give reasons; that it is gone is known from its process
/// alone.
class Machine {
  public:
    Machine(State state, Reason reason) : state_(state), reason_(reason) {}

    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] Reason reason() const { return reason_; }
    /// True while a QEMU process of this VM lives or is being made.
    [[nodiscard]] bool is_active() const;
    /// True when a start may begin.
    [[nodiscard]] bool may_start() const;

    /// A start begins. @pre may_start()
    void on_starting();
    /// QEMU was there and ended before it was committed; no process is left.
    void on_start_failed(Reason reason);
    /// The start ended before there was a QEMU (something is missing, or it was interrupted): all
    /// is as it was.
    void on_start_withdrawn();
    /// The vCPUs run (after `cont`, RESUME, or found so at an adoption).
    void on_running();
    /// Somebody asks for a pause: the next stop of the vCPUs is the user's. And it came to nothing.
    void on_pause_requested();
    void on_pause_withdrawn();
    /// QEMU has stopped the vCPUs: by STOP, or found so.
    void on_paused(Reason reason);
    /// Somebody asked this VM to stop. @param reason user or host_shutdown; the first one stays
    void on_stop_requested(Reason reason = Reason::user);
    /// That request was withdrawn before anything ended.
    void on_stop_withdrawn();
    /// The guest gave a reason why QEMU will end or stand still (SHUTDOWN, GUEST_PANICKED,
    /// BLOCK_IO_ERROR).
    void on_cause(Reason reason);
    /// QEMU answers no more, though its process lives; and answers again.
    void on_unresponsive();
    void on_responsive(bool vcpus_run);
    /// The process is gone and the guest's RAM is on the disk.
    void on_suspended();
    /// That RAM was given up: the next start is a boot.
    void on_ram_discarded();
    /// The process is gone. @param status null when it was no child of ours
    void on_exit(const ExitStatus* status);
    /// Found at a start of the supervisor: the process had ended while nobody watched. One that
    /// was being stopped has the reason of that.
    void on_found_dead(bool host_was_restarted);
    /// It ended too often in too short a time, and is not started again.
    void on_crash_loop();

    /// True when the last end (of on_exit) had been asked for.
    [[nodiscard]] bool ended_by_request() const { return ended_by_request_; }

  private:
    struct Condition {
        State state;
        Reason reason;
    };
    void enter(State state, Reason reason);

    State state_;
    Reason reason_;
    Condition before_{State::stopped, Reason::none};  ///< to go back to when a request is withdrawn
    Reason cause_ = Reason::none;                     ///< of the end that QEMU has announced
    bool stop_requested_ = false;
    Reason stop_reason_ = Reason::user;
    bool ended_by_request_ = false;
};

}  // namespace noxsup::lifecycle
