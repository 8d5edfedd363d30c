// Stopping a VM: ever firmer words to its QEMU, until the process is gone.

#include <signal.h>

#include <algorithm>

#include "qmp/commands.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/scope_exit.hpp"
#include "supervisor/vm/vm_running.hpp"

namespace noxsup::vm {
namespace {

using std::chrono::milliseconds;

/// Within which QEMU carries out a reset that it has taken.
constexpr std::chrono::seconds reset_limit{5};

/// What an answer may take that is there at once, on a busy machine; and what any may.
constexpr milliseconds shortest_answer{200};
constexpr milliseconds longest_answer{10'000};

/// One command, whose answer is waited for until the deadline at most: a QEMU that hangs does not
/// make the stop longer than the caller said.
boost::asio::awaitable<Result<Json>> ask(qmp::Client& client, const char* command,
                                         Deadline deadline) {
    const auto left =
        std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
    qmp::Request request(command);
    request.deadline = std::clamp(left, shortest_answer, longest_answer);
    auto answer = co_await client.execute(std::move(request));
    co_return answer;
}

}  // namespace

boost::asio::awaitable<Result<StopMethod>> Vm::stop(bool force, StopLimits limits,
                                                    lifecycle::Reason reason) {
    const auto self = shared_from_this();
    co_await settled();
    while (machine_.state() == lifecycle::State::starting || suspending_ || snapshotting_ ||
           following_reboot_)
        co_await condition_.wait();
    if (!machine_.is_active()) {
        // It would run but for a back-off.
        if (reason == lifecycle::Reason::host_shutdown && record_.restart_pending) {
            machine_.on_found_dead(true);
            follow({});
        }
        co_return StopMethod::was_stopped;
    }
    const auto running = running_;
    if (!running || !running->pidfd) {
        co_return Error{ErrorCode::wrong_state,
                        spec().name + " has a QEMU that cannot be identified, so it is not touched",
                        "look for it with: ps ax | grep " + spec().uuid};
    }
    // A supervisor that dies in the middle must not let the next one start again what was to stop.
    const bool kept = record_.spec.restart != spec::RestartPolicy::no;
    machine_.on_stop_requested(reason);
    if (kept) save();
    changed();
    bool done = false;
    // A stop that was cancelled is withdrawn, on every way out but success.
    const ScopeExit finish([this, &done, kept] {
        if (done) return;
        machine_.on_stop_withdrawn();
        if (kept && machine_.is_active()) save();
        changed();
    });
    auto method = co_await end_process(running, force, limits);
    done = method.has_value();
    co_return method;
}

boost::asio::awaitable<Result<StopMethod>> Vm::end_process(std::shared_ptr<Running> running,
                                                           bool force, StopLimits limits) {
    const bool reached = co_await reach(running);
    if (!force && reached) {
        const bool gone = co_await press_button(running, limits);
        if (gone) co_return StopMethod::power_button;
    }
    const auto state = co_await boost::asio::this_coro::cancellation_state;
    if (state.cancelled() != boost::asio::cancellation_type::none) {
        co_return Error{ErrorCode::interrupted, "interrupted; " + spec().name + " was not stopped"};
    }
    if (running->qmp && !running->ended) {
        const auto until = std::chrono::steady_clock::now() + limits.quit;
        co_await qmp::quit(*running->qmp);
        const auto left =
            std::chrono::duration_cast<milliseconds>(until - std::chrono::steady_clock::now());
        const bool gone = co_await wait_exit(running, left);
        if (gone) co_return StopMethod::quit;
    }
    log_warning(spec().name + " did not quit; sending SIGTERM");
    NOXSUP_CO_TRY(send_signal(running->pidfd.get(), SIGTERM));
    const bool terminated = co_await wait_exit(running, limits.terminate);
    if (terminated) co_return StopMethod::terminate;
    NOXSUP_CO_TRY(send_signal(running->pidfd.get(), SIGKILL));
    const bool killed = co_await wait_exit(running, limits.kill);
    if (killed) co_return StopMethod::kill;
    co_return Error{ErrorCode::timeout, "QEMU of " + spec().name + " did not end after SIGKILL",
                    "its process waits inside the kernel; look at the host's disk and dmesg"};
}

boost::asio::awaitable<bool> Vm::press_button(std::shared_ptr<Running> running, StopLimits limits) {
    const auto deadline = std::chrono::steady_clock::now() + limits.button;
    // A paused guest cannot answer the button.
    const auto status = co_await ask(*running->qmp, "query-status", deadline);
    if (!status) co_return running->ended;
    const auto vcpus_run = json_member<bool>(*status, "running");
    if (vcpus_run && !*vcpus_run && running->qmp) co_await let_run(*running->qmp);
    while (!running->ended && running->qmp) {
        tell_guest_to_power_off(*running);
        const auto pressed = co_await ask(*running->qmp, "system_powerdown", deadline);
        const auto left =
            std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
        if (!pressed) {
            // QEMU closes its monitor on its way out, and on a busy host is gone seconds later.
            const bool hung_up = pressed.error().code != ErrorCode::timeout;
            if (hung_up) co_await wait_exit(running, std::min(left, limits.quit));
            break;
        }
        if (left <= milliseconds::zero()) break;
        const bool gone = co_await wait_exit(running, std::min(left, limits.button_again));
        if (gone) break;
        const auto state = co_await boost::asio::this_coro::cancellation_state;
        if (state.cancelled() != boost::asio::cancellation_type::none) break;
    }
    co_return running->ended;
}

boost::asio::awaitable<Result<>> Vm::reset() {
    const auto self = shared_from_this();
    co_await settled();
    const auto running = running_;
    bool reached = false;
    NOXSUP_CO_TRY(check_not_saving());
    if (running) reached = co_await reach(running);
    if (!reached) {
        co_return Error{ErrorCode::wrong_state,
                        "cannot reset " + spec().name + ": it is " +
                            std::string(lifecycle::to_string(machine_.state())),
                        "start it with noxsup start " + spec().name};
    }
    auto work = reset_running(running);
    auto outcome = co_await std::move(work);
    if (!outcome) outcome = overtaken("reset", *running, outcome.error());
    co_return outcome;
}

boost::asio::awaitable<Result<>> Vm::reset_running(std::shared_ptr<Running> running) {
    if (running->lacks_kernel) {
        auto following = follow_reboot(running);
        co_await uncancellable(std::move(following));
        if (running_ && running_ != running) co_return Result<>();
        co_return Error{ErrorCode::qemu_failed, spec().name + " did not reboot",
                        "see noxsup status " + spec().name};
    }
    NOXSUP_CO_TRY_VALUE(const auto before, co_await qmp::query_status(*running->qmp));
    if (!running->qmp) co_return Error{ErrorCode::qemu_failed, "QEMU has just ended"};
    NOXSUP_CO_TRY(co_await qmp::system_reset(*running->qmp));
    on_guest_reset();
    if (before.running) co_return Result<>();
    auto outcome = co_await run_after_reset(running);
    co_return outcome;
}

/// QEMU resets a guest that stands still and leaves it standing; and until it has done so, it
/// refuses to let one that has panicked go on.
boost::asio::awaitable<Result<>> Vm::run_after_reset(std::shared_ptr<Running> running) {
    const auto deadline = std::chrono::steady_clock::now() + reset_limit;
    for (;;) {
        if (!running->qmp) co_return Error{ErrorCode::qemu_failed, "QEMU ended at the reset"};
        auto going = co_await let_run(*running->qmp);
        if (going || std::chrono::steady_clock::now() >= deadline) co_return going;
        const bool slept = co_await sleep_for(milliseconds(50));
        if (!slept) co_return Error{ErrorCode::interrupted, "interrupted"};
    }
}

}  // namespace noxsup::vm
