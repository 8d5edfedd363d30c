#include "supervisor/lifecycle/machine.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace noxsup::lifecycle {
namespace {

constexpr std::array state_words{
    std::pair{State::creating, std::string_view("creating")},
    std::pair{State::stopped, std::string_view("stopped")},
    std::pair{State::starting, std::string_view("starting")},
    std::pair{State::running, std::string_view("running")},
    std::pair{State::paused, std::string_view("paused")},
    std::pair{State::stopping, std::string_view("stopping")},
    std::pair{State::suspended, std::string_view("suspended")},
    std::pair{State::unresponsive, std::string_view("unresponsive")},
    std::pair{State::failed, std::string_view("failed")},
    std::pair{State::damaged, std::string_view("damaged")},
    std::pair{State::foreign, std::string_view("foreign")},
};

constexpr std::array reason_words{
    std::pair{Reason::none, std::string_view("")},
    std::pair{Reason::user, std::string_view("user")},
    std::pair{Reason::guest_shutdown, std::string_view("guest-shutdown")},
    std::pair{Reason::guest_reset, std::string_view("guest-reset")},
    std::pair{Reason::guest_panic, std::string_view("guest-panic")},
    std::pair{Reason::qemu_exit, std::string_view("qemu-exit")},
    std::pair{Reason::killed, std::string_view("killed")},
    std::pair{Reason::oom, std::string_view("oom")},
    std::pair{Reason::no_space, std::string_view("no-space")},
    std::pair{Reason::io_error, std::string_view("io-error")},
    std::pair{Reason::timeout, std::string_view("timeout")},
    std::pair{Reason::crash_loop, std::string_view("crash-loop")},
    std::pair{Reason::host_shutdown, std::string_view("host-shutdown")},
    std::pair{Reason::unknown, std::string_view("unknown")},
};

template <class Table, class Key>
std::string_view word_of(const Table& table, Key key) {
    return std::ranges::find(table, key, &Table::value_type::first)->second;
}

template <class Key, class Table>
Result<Key> key_of(const Table& table, std::string_view word, std::string_view what) {
    const auto found = std::ranges::find(table, word, &Table::value_type::second);
    if (found == table.end()) {
        return Error{ErrorCode::protocol_error,
                     "unknown " + std::string(what) + " \"" + std::string(word) + "\""};
    }
    return found->first;
}

}  // namespace

std::string_view to_string(State state) {
    return word_of(state_words, state);
}

std::string_view to_string(Reason reason) {
    return word_of(reason_words, reason);
}

Result<State> state_from_string(std::string_view word) {
    return key_of<State>(state_words, word, "state");
}

Result<Reason> reason_from_string(std::string_view word) {
    return key_of<Reason>(reason_words, word, "reason");
}

bool Machine::is_active() const {
    switch (state_) {
        case State::starting:
        case State::running:
        case State::paused:
        case State::stopping:
        case State::unresponsive:
            return true;
        default:
            return false;
    }
}

bool Machine::may_start() const {
    return state_ == State::stopped || state_ == State::failed || state_ == State::suspended;
}

void Machine::enter(State state, Reason reason) {
    state_ = state;
    reason_ = reason;
}

void Machine::on_starting() {
    before_ = {state_, reason_};
    cause_ = Reason::none;
    stop_requested_ = false;
    enter(State::starting, Reason::none);
}

void Machine::on_start_failed(Reason reason) {
    enter(State::failed, reason);
}

void Machine::on_start_withdrawn() {
    enter(before_.state, before_.reason);
}

void Machine::on_running() {
    cause_ = Reason::none;
    if (stop_requested_) before_ = {State::running, Reason::none};
    enter(stop_requested_ ? State::stopping : State::running,
          stop_requested_ ? stop_reason_ : Reason::none);
}

void Machine::on_pause_requested() {
    cause_ = Reason::user;
}

void Machine::on_pause_withdrawn() {
    if (cause_ == Reason::user) cause_ = Reason::none;
}

void Machine::on_paused(Reason reason) {
    // A QEMU that stops its vCPUs on the way out, or for a cause it has named, is not paused by a
    // user.
    if (stop_requested_) return;
    enter(State::paused, cause_ != Reason::none ? cause_ : reason);
}

void Machine::on_stop_requested(Reason reason) {
    if (!stop_requested_) {
        before_ = {state_, reason_};
        stop_reason_ = reason;
    }
    stop_requested_ = true;
    enter(State::stopping, stop_reason_);
}

void Machine::on_stop_withdrawn() {
    if (!stop_requested_) return;
    stop_requested_ = false;
    if (state_ == State::stopping) enter(before_.state, before_.reason);
}

void Machine::on_cause(Reason reason) {
    cause_ = reason;
    if (state_ == State::running &&
        (reason == Reason::guest_shutdown || reason == Reason::host_shutdown)) {
        enter(State::stopping, reason);
    } else if (state_ == State::paused) {
        reason_ = reason;
    }
}

void Machine::on_unresponsive() {
    if (is_active()) enter(State::unresponsive, Reason::timeout);
}

void Machine::on_responsive(bool vcpus_run) {
    if (state_ != State::unresponsive) return;
    if (stop_requested_) {
        enter(State::stopping, stop_reason_);
    } else {
        enter(vcpus_run ? State::running : State::paused, cause_);
    }
}

void Machine::on_suspended() {
    cause_ = Reason::none;
    stop_requested_ = false;
    enter(State::suspended, Reason::user);
}

void Machine::on_ram_discarded() {
    if (state_ == State::suspended) enter(State::stopped, Reason::user);
}

void Machine::on_exit(const ExitStatus* status) {
    const auto cause = std::exchange(cause_, Reason::none);
    const bool asked = std::exchange(stop_requested_, false);
    ended_by_request_ = asked;
    if (cause == Reason::guest_panic) return enter(State::failed, cause);
    if (asked) return enter(State::stopped, stop_reason_);
    if (cause == Reason::guest_shutdown || cause == Reason::guest_reset ||
        cause == Reason::host_shutdown) {
        return enter(State::stopped, cause);
    }
    if (cause == Reason::killed || cause == Reason::oom) return enter(State::failed, cause);
    if (status == nullptr) return enter(State::failed, Reason::unknown);
    if (status->signal) return enter(State::failed, Reason::killed);
    enter(State::failed, Reason::qemu_exit);
}

void Machine::on_found_dead(bool host_was_restarted) {
    cause_ = Reason::none;
    stop_requested_ = false;
    if (state_ == State::stopping && reason_ != Reason::none) return enter(State::stopped, reason_);
    enter(State::stopped, host_was_restarted ? Reason::host_shutdown : Reason::unknown);
}

void Machine::on_crash_loop() {
    enter(State::failed, Reason::crash_loop);
}

}  // namespace noxsup::lifecycle
