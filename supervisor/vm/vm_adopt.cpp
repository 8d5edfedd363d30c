// Finding the QEMU of an earlier supervisor again, and noticing one that has stopped answering.

#include "qmp/resync.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/scope_exit.hpp"
#include "supervisor/base/time.hpp"
#include "supervisor/launch/life_lock.hpp"
#include "supervisor/vm/vm_running.hpp"

namespace noxsup::vm {
namespace {

/// Short, so that one silent QEMU costs the command that asks about it seconds, not minutes.
constexpr std::chrono::seconds answer_limit{2};
/// With the time that an answer may take, less than the five seconds of promise P3.
constexpr std::chrono::seconds ask_again_interval{2};

/// Why the vCPUs stand still, where QEMU knows it itself.
lifecycle::Reason reason_of(const qmp::Snapshot& snapshot) {
    if (snapshot.status.state == qmp::RunState::guest_panicked)
        return lifecycle::Reason::guest_panic;
    if (snapshot.status.state != qmp::RunState::io_error) return lifecycle::Reason::none;
    for (const auto& device : snapshot.block_devices) {
        if (device.io_status == qmp::IoStatus::no_space) return lifecycle::Reason::no_space;
    }
    return lifecycle::Reason::io_error;
}

/// For how long, and how often, a QEMU is looked for that holds its lock and does not listen yet.
constexpr std::chrono::seconds listen_limit{10};
constexpr std::chrono::milliseconds listen_interval{100};

}  // namespace

boost::asio::awaitable<void> Vm::adopt() {
    const auto self = shared_from_this();
    co_await look_for_qemu();
    if (record_.snapshot_work) tasks_.spawn("snapshot of " + spec().name, carry_on_snapshot_work());
    // A supervisor that ended just after it had started one leaves a QEMU that loads its libraries.
    const auto until = std::chrono::steady_clock::now() + listen_limit;
    while (is_unidentified() && std::chrono::steady_clock::now() < until) {
        const bool slept = co_await sleep_for(listen_interval);
        if (!slept) co_return;
        co_await settled();
        if (is_unidentified()) co_await look_for_qemu();
    }
}

bool Vm::is_unidentified() const {
    return !running_ && machine_.state() == lifecycle::State::unresponsive;
}

boost::asio::awaitable<void> Vm::look_for_qemu() {
    adopting_ = true;
    const ScopeExit finish([this] {
        adopting_ = false;
        changed();
    });
    std::erase_if(degraded_, [](const auto& text) {
        return text.starts_with("not-adopted") || text.starts_with("not-published");
    });
    const auto recorded = record_.qemu.value_or(launch::ProcessIdentity());
    auto found = launch::adopt_qemu(recorded, files(), spec().uuid);
    if (!found) co_return on_unidentified(found.error().message);
    if (std::holds_alternative<launch::Dead>(*found)) co_return on_found_dead();
    if (const auto* unknown = std::get_if<launch::AliveUnknown>(&*found))
        co_return on_unidentified(unknown->reason);
    co_await adopt_alive(std::move(std::get<launch::Alive>(*found)));
}

void Vm::on_unidentified(const std::string& reason) {
    machine_ = lifecycle::Machine(lifecycle::State::running, lifecycle::Reason::none);
    machine_.on_unresponsive();
    degraded_.push_back("not-adopted: " + reason);
}

void Vm::on_found_dead() {
    std::error_code ignored;
    if (std::filesystem::exists(files().runtime_dir, ignored)) {
        if (const auto lock = launch::take_life_lock(files().lock)) launch::remove_sockets(files());
    }
    record_.identity_pending = false;
    const bool believed_alive = record_.qemu.has_value() || machine_.is_active();
    if (!believed_alive) return;
    const bool restarted = record_.qemu && record_.qemu->boot_id != environment_.boot_id;
    if (record_.saved_ram) {
        machine_.on_suspended();
    } else {
        machine_.on_found_dead(restarted);
    }
    log_info(spec().name + " had ended while no supervisor ran");
    // After a reboot it is autostart that decides.
    if (!restarted) ask_what_follows();
    save();
}

boost::asio::awaitable<void> Vm::adopt_alive(launch::Alive alive) {
    auto running = std::make_shared<Running>();
    running->identity = alive.identity;
    running->pidfd = std::move(alive.pidfd);
    // After a re-execution in place QEMU is still our child; reap() tells, on_exit() copes with
    // both.
    running->is_child = true;
    running->lacks_kernel = spec::boots_directly(spec().boot) &&
                            !launch::has_argument(running->identity.pid, "-kernel");
    machine_ = lifecycle::Machine(lifecycle::State::running, lifecycle::Reason::none);
    running_ = running;
    limit_again();
    watch_again(*running);
    qmp::ClientOptions options;
    options.greeting_deadline = answer_limit;
    auto resynced = co_await qmp::connect_with_resync(files().qmp_socket(), options);
    if (!resynced) {
        on_silence();
        degraded_.push_back("not-adopted: " + resynced.error().message);
        log_warning(spec().name + " lives but does not answer: " + resynced.error().message);
    } else {
        running->qmp = std::move(resynced->client);
        if (const auto console = connect_console(*running); !console) {
            degraded_.push_back("no-console: " + console.error().message);
        }
        if (const auto port = connect_guest_port(*running); !port)
            log_warning(spec().name + ": " + port.error().message);
        auto snapshot = std::move(resynced->snapshot);
        co_await apply(std::move(snapshot), running);
        log_info("adopted " + spec().name + ", pid " + std::to_string(running->identity.pid));
    }
    // The record of a start that was cut off knows nothing of this QEMU yet.
    if (record_.qemu != running->identity && !running->ended) {
        record_.started_at = rfc3339_now();
        save();
    }
    watch(running);
    if (record_.identity_pending) {
        tasks_.spawn("end of " + spec().name, end_without_identity());
    } else if (running->lacks_kernel && spec().arch == spec::Arch::arm64) {
        tasks_.spawn("lost reboot of " + spec().name, follow_unseen_reboot(running));
    }
}

/// The state that QEMU told at an adoption, with the reason that it or the record gives.
boost::asio::awaitable<void> Vm::apply(qmp::Snapshot snapshot, std::shared_ptr<Running> running) {
    if (snapshot.status.running) {
        machine_.on_running();
        co_return;
    }
    const bool meant_to_stand = record_.state == lifecycle::State::paused;
    if (snapshot.status.state == qmp::RunState::prelaunch && !meant_to_stand) {
        // The supervisor ended between QEMU's start and its `cont`: the start is carried out.
        const auto begun = co_await let_run(*running->qmp);
        if (begun) {
            machine_.on_running();
            co_return;
        }
        log_warning(spec().name +
                    ": a start that was cut off cannot be carried out: " + begun.error().message);
    }
    running->panicked = snapshot.status.state == qmp::RunState::guest_panicked;
    const auto told = reason_of(snapshot);
    const auto recorded = meant_to_stand ? record_.reason : lifecycle::Reason::unknown;
    machine_.on_paused(told != lifecycle::Reason::none ? told : recorded);
}

/// What limits a VM is lifted while its supervisor is away: a unit that starts again needs its
/// cgroup without controllers.
void Vm::limit_again() {
    const auto* tree = environment_.cgroups;
    if (tree == nullptr || !tree->why_none().empty()) return;
    const auto& id = record_.spec.id;
    if (!std::filesystem::exists(tree->leaf(id))) return;
    const auto limited = tree->limit(id, launch::cgroup_limits(record_.spec));
    if (!limited) degraded_.push_back("no-cgroup: " + limited.error().message);
}

/// Sees to it that QMP is open, connecting again where it must. False when QEMU does not answer.
boost::asio::awaitable<bool> Vm::reach(std::shared_ptr<Running> running) {
    while (connecting_) co_await condition_.wait();
    if (running->ended) co_return false;
    if (running->qmp && running->qmp->is_open()) co_return true;
    connecting_ = true;
    const ScopeExit finish([this] {
        connecting_ = false;
        changed();
    });
    qmp::ClientOptions options;
    options.greeting_deadline = answer_limit;
    auto client = co_await qmp::Client::connect(files().qmp_socket(), options);
    if (running->ended) co_return false;
    if (!client) {
        on_silence();
        co_return false;
    }
    running->qmp = std::move(*client);
    listen_to(*running->qmp);
    std::erase_if(degraded_, [](const auto& text) { return text.starts_with("not-adopted"); });
    if (!running->console) static_cast<void>(connect_console(*running));
    co_return true;
}

/// QEMU lives and does not answer. It is asked again until it does, for nobody else may ask.
void Vm::on_silence() {
    machine_.on_unresponsive();
    changed();
    if (recovering_) return;
    recovering_ = true;
    tasks_.spawn("recovery of " + spec().name, await_recovery());
}

boost::asio::awaitable<void> Vm::await_recovery() {
    const auto self = shared_from_this();
    const ScopeExit finish([this] { recovering_ = false; });
    while (running_ && machine_.state() == lifecycle::State::unresponsive) {
        const bool slept = co_await sleep_for(ask_again_interval);
        if (!slept) co_return;
        co_await refresh();
    }
}

boost::asio::awaitable<void> Vm::refresh() {
    const auto self = shared_from_this();
    co_await settled();
    if (is_unidentified()) co_await look_for_qemu();
    const auto running = running_;
    if (!running || running->ended) co_return;
    const bool reached = co_await reach(running);
    if (!reached) co_return;
    qmp::Request request("query-status");
    request.deadline = answer_limit;
    const auto status = co_await running->qmp->execute(std::move(request));
    if (running->ended) co_return;
    if (!status) {
        if (status.error().code == ErrorCode::timeout) on_silence();
    } else {
        const auto vcpus_run = json_member<bool>(*status, "running");
        machine_.on_responsive(!vcpus_run || *vcpus_run);
    }
    changed();
}

}  // namespace noxsup::vm
