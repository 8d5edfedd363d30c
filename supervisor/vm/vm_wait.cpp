// Waiting until a VM has come so far, stage by stage, and telling what went wrong where.

#include "supervisor/vm/vm_running.hpp"

namespace noxsup::vm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Between two looks at a guest's ssh port: short enough not to add to a boot, long enough to cost
/// nothing.
constexpr milliseconds probe_interval{250};
constexpr seconds banner_limit{5};
constexpr seconds login_limit{60};

bool cancelled(const boost::asio::cancellation_state& state) {
    return state.cancelled() != boost::asio::cancellation_type::none;
}

Error interrupted_error() {
    return {ErrorCode::interrupted, "interrupted; the VM goes on"};
}

}  // namespace

boost::asio::awaitable<Result<>> Vm::wait(WaitFor goal, Deadline deadline, Stages& stages) {
    const auto self = shared_from_this();
    co_await settled();
    if (goal == WaitFor::stopped) co_return co_await wait_stopped(deadline);
    struct Step {
        const char* stage;
        WaitFor reached;
        boost::asio::awaitable<Result<>> (Vm::*wait)(Deadline);
    };
    constexpr std::array steps{Step{"running", WaitFor::running, &Vm::wait_running},
                               Step{"kernel", WaitFor::ip, &Vm::wait_kernel},
                               Step{"network", WaitFor::ip, &Vm::wait_network},
                               Step{"ssh", WaitFor::ssh, &Vm::wait_login},
                               Step{"cloud-init", WaitFor::cloud_init, &Vm::wait_cloud_init}};
    for (const auto& step : steps) {
        if (goal < step.reached) break;
        // Being there already is no stage of its own.
        const bool told =
            step.reached != WaitFor::running || machine_.state() != lifecycle::State::running;
        if (told) stages.begin(step.stage);
        auto outcome = co_await (this->*step.wait)(deadline);
        if (!outcome) {
            auto error = std::move(outcome).error();
            if (error.stage.empty()) error.stage = step.stage;
            if (error.code == ErrorCode::timeout) {
                error = with_evidence(std::move(error));
                error.hint = spec().name + " is kept and may still be coming up: noxsup wait " +
                             spec().name + " --for ssh, noxsup logs " + spec().name;
            }
            co_return error;
        }
        if (told) stages.end();
    }
    co_return Result<>();
}

boost::asio::awaitable<Result<>> Vm::wait_stopped(Deadline deadline) {
    while (machine_.is_active()) {
        const bool in_time = co_await condition_.wait_until(deadline);
        if (in_time) continue;
        if (cancelled(co_await boost::asio::this_coro::cancellation_state))
            co_return interrupted_error();
        co_return Error{ErrorCode::timeout, spec().name + " has not stopped in time",
                        "stop it with noxsup stop " + spec().name};
    }
    co_return Result<>();
}

boost::asio::awaitable<Result<>> Vm::wait_running(Deadline deadline) {
    while (machine_.state() != lifecycle::State::running) {
        if (running_ && running_->panicked) co_return std::move(*failure_of_guest("running"));
        if (machine_.state() == lifecycle::State::paused) {
            const auto reason = std::string(lifecycle::to_string(machine_.reason()));
            co_return with_evidence(
                Error(ErrorCode::wrong_state,
                      spec().name + " is paused" + (reason.empty() ? "" : " (" + reason + ")"),
                      "let it go on with noxsup resume " + spec().name));
        }
        if (!machine_.is_active()) {
            co_return with_evidence(
                Error(ErrorCode::wrong_state,
                      spec().name + " is " + std::string(lifecycle::to_string(machine_.state())),
                      "start it with noxsup start " + spec().name));
        }
        const bool in_time = co_await condition_.wait_until(deadline);
        if (in_time) continue;
        if (cancelled(co_await boost::asio::this_coro::cancellation_state))
            co_return interrupted_error();
        co_return Error{ErrorCode::timeout, spec().name + " does not run yet"};
    }
    co_return Result<>();
}

boost::asio::awaitable<bool> Vm::banner_answers() {
    const auto running = running_;
    if (!running) co_return false;
    if (running->banner_seen) co_return true;
    const auto target = ssh_target();
    if (!target) co_return false;
    const auto banner = co_await read_ssh_banner(target->host, target->port, banner_limit);
    if (banner) running->banner_seen = true;
    co_return banner.has_value();
}

boost::asio::awaitable<Result<>> Vm::wait_kernel(Deadline deadline) {
    for (;;) {
        if (auto failure = failure_of_guest("kernel")) co_return std::move(*failure);
        // A quiet or an adopted guest has printed nothing we saw; then its network tells.
        if (running_->kernel_seen || has_address()) co_return Result<>();
        const bool answers = co_await banner_answers();
        if (answers) co_return Result<>();
        if (cancelled(co_await boost::asio::this_coro::cancellation_state))
            co_return interrupted_error();
        if (std::chrono::steady_clock::now() >= deadline) {
            co_return Error{ErrorCode::timeout, "the guest's kernel has not shown itself in time"};
        }
        co_await condition_.wait_until(
            std::min(deadline, std::chrono::steady_clock::now() + probe_interval));
    }
}

boost::asio::awaitable<Result<>> Vm::wait_network(Deadline deadline) {
    const bool bridged = spec::has_tap(spec().networks.front());
    for (;;) {
        if (auto failure = failure_of_guest("network")) co_return std::move(*failure);
        if (has_address()) co_return Result<>();
        // Behind user-mode networking the guest's own port is the first sign of its network. A
        // guest with an address given by hand is asked for it by this; what counts is that the
        // guest is seen to have it, for on a network somebody else may answer.
        const bool answers = co_await banner_answers();
        if (answers && !bridged) co_return Result<>();
        if (cancelled(co_await boost::asio::this_coro::cancellation_state))
            co_return interrupted_error();
        if (std::chrono::steady_clock::now() >= deadline) {
            co_return Error{ErrorCode::timeout,
                            bridged ? "the guest has got no address in time"
                                    : "the guest's ssh port has not answered in time"};
        }
        co_await condition_.wait_until(
            std::min(deadline, std::chrono::steady_clock::now() + probe_interval));
    }
}

boost::asio::awaitable<Result<>> Vm::wait_login(Deadline deadline) {
    if (!is_reached_from_host(spec())) co_return ssh_target().error();
    Error last(ErrorCode::timeout, "ssh has not answered in time");
    for (;;) {
        if (auto failure = failure_of_guest("ssh")) co_return std::move(*failure);
        const auto target = ssh_target();
        const bool answers = co_await banner_answers();
        const auto left = deadline - std::chrono::steady_clock::now();
        if (target && answers && left > SteadyDuration::zero()) {
            const std::vector<std::string> words{"true"};
            const auto login = co_await run_over_ssh(environment_.runner, *target, words,
                                                     std::min<SteadyDuration>(left, login_limit));
            if (login) co_return Result<>();
            last.message = "no login by ssh in time: " + login.error().message;
            if (running_) running_->banner_seen = false;
        }
        if (cancelled(co_await boost::asio::this_coro::cancellation_state))
            co_return interrupted_error();
        if (std::chrono::steady_clock::now() >= deadline) co_return last;
        co_await condition_.wait_until(
            std::min(deadline, std::chrono::steady_clock::now() + probe_interval));
    }
}

boost::asio::awaitable<Result<>> Vm::wait_cloud_init(Deadline deadline) {
    const auto target = ssh_target();
    if (!target) co_return target.error();
    const std::vector<std::string> words{"cloud-init", "status", "--wait"};
    const auto left =
        std::max<SteadyDuration>(deadline - std::chrono::steady_clock::now(), seconds(1));
    const auto output = co_await run_over_ssh(environment_.runner, *target, words, left);
    if (!output) co_return output.error();
    // 2 is "done, with errors it recovered from" (cloud-init 23.4 and later).
    const int code = output->status.exit_code.value_or(-1);
    if (code == 0 || code == 2) co_return Result<>();
    Error error(ErrorCode::guest_failed, "cloud-init failed in the guest",
                "see noxsup ssh " + spec().name + " -- cloud-init status --long");
    error.evidence.push_back(output->out);
    co_return error;
}

}  // namespace noxsup::vm
