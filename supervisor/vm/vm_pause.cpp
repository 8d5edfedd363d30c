// Standing a guest still and letting it go on, in memory.

#include "qmp/commands.hpp"
#include "supervisor/vm/vm_running.hpp"

namespace noxsup::vm {
namespace {

using lifecycle::Reason;
using lifecycle::State;

/// A guest whose write has failed repeats it at once when it goes on; whether it fails again shows
/// within this.
constexpr std::chrono::seconds write_again_limit{1};

bool stood_for_its_disk(Reason reason) {
    return reason == Reason::no_space || reason == Reason::io_error;
}

}  // namespace

/// The VM's QEMU, which has just answered. Waits for a start that is under way.
/// @param what "pause", for the error
boost::asio::awaitable<Result<std::shared_ptr<Vm::Running>>> Vm::reach_for(const char* what) {
    co_await settled();
    while (machine_.state() == State::starting) co_await condition_.wait();
    NOXSUP_CO_TRY(check_not_saving());
    co_await refresh();
    const auto running = running_;
    const auto state = machine_.state();
    if (running && running->qmp && (state == State::running || state == State::paused))
        co_return running;
    co_return Error{ErrorCode::wrong_state,
                    std::string("cannot ") + what + " " + spec().name + ": it is " +
                        std::string(lifecycle::to_string(state)),
                    machine_.is_active() ? "see noxsup status " + spec().name
                                         : "start it with noxsup start " + spec().name};
}

/// Why an order failed whose QEMU was there when it began: where somebody's stop came in between,
/// QEMU is not to blame.
Error Vm::overtaken(const char* what, const Running& running, Error error) const {
    const bool stopped =
        machine_.state() == State::stopping || (running.ended && machine_.ended_by_request());
    if (!stopped) return error;
    return {ErrorCode::wrong_state,
            std::string("cannot ") + what + " " + spec().name + ": it was stopped meanwhile",
            "start it with noxsup start " + spec().name};
}

boost::asio::awaitable<Result<>> Vm::pause() {
    const auto self = shared_from_this();
    NOXSUP_CO_TRY_VALUE(const auto running, co_await reach_for("pause"));
    if (machine_.state() == State::paused) co_return Result<>();
    machine_.on_pause_requested();
    const auto stopped = co_await qmp::stop(*running->qmp);
    if (!stopped) {
        machine_.on_pause_withdrawn();
        co_return overtaken("pause", *running, stopped.error());
    }
    save();
    changed();
    co_return Result<>();
}

boost::asio::awaitable<Result<>> Vm::resume() {
    const auto self = shared_from_this();
    NOXSUP_CO_TRY_VALUE(const auto running, co_await reach_for("resume"));
    if (machine_.state() == State::running) co_return Result<>();
    const auto before = machine_.reason();
    const auto gone_on = co_await let_run(*running->qmp);
    if (!gone_on) {
        auto error = overtaken("resume", *running, gone_on.error());
        if (before == Reason::guest_panic)
            error.hint = "begin anew with noxsup reset " + spec().name;
        co_return error;
    }
    if (stood_for_its_disk(before)) NOXSUP_CO_TRY(co_await expect_writes());
    save();
    changed();
    co_return Result<>();
}

/// Sees whether a guest that stood still for its disk does so again.
boost::asio::awaitable<Result<>> Vm::expect_writes() {
    const auto until = std::chrono::steady_clock::now() + write_again_limit;
    while (machine_.state() == State::running) {
        const bool in_time = co_await condition_.wait_until(until);
        if (!in_time) break;
    }
    if (machine_.state() != State::paused) co_return Result<>();
    const bool full = machine_.reason() == Reason::no_space;
    Error error(full ? ErrorCode::no_space : ErrorCode::guest_failed,
                spec().name + " stands still again: its disk cannot be written (" +
                    std::string(lifecycle::to_string(machine_.reason())) + ")",
                "look at the host's disk and dmesg");
    if (full) {
        error.hint = "free some space below " + environment_.home.root().string() +
                     ", then noxsup resume " + spec().name;
    }
    co_return error;
}

}  // namespace noxsup::vm
