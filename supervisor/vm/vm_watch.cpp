// Watching a running VM: the end of its QEMU, its events, its console and its addresses.

#include <signal.h>

#include "supervisor/base/log.hpp"
#include "supervisor/launch/life_lock.hpp"
#include "supervisor/vm/vm_running.hpp"

namespace noxsup::vm {
namespace {

using lifecycle::Reason;

Reason reason_of(const qmp::ShutdownEvent& event) {
    switch (event.reason) {
        case qmp::ShutdownCause::guest_shutdown:
            return Reason::guest_shutdown;
        case qmp::ShutdownCause::guest_reset:
            return Reason::guest_reset;
        case qmp::ShutdownCause::guest_panic:
            return Reason::guest_panic;
        case qmp::ShutdownCause::host_signal:
            return Reason::killed;
        default:
            return Reason::none;
    }
}

}  // namespace

void Vm::watch(const std::shared_ptr<Running>& running) {
    if (running->qmp) listen_to(*running->qmp);
    tasks_.spawn("exit of " + record_.spec.name, watch_exit(running));
    for (const auto& nic : running->nics) watch_card(running, nic);
}

void Vm::watch_card(const std::shared_ptr<Running>& running, const std::shared_ptr<Nic>& nic) {
    if (nic->watcher)
        tasks_.spawn("addresses of " + record_.spec.name, watch_addresses(running, nic));
}

void Vm::listen_to(qmp::Client& client) {
    std::weak_ptr<Vm> weak = weak_from_this();
    client.set_event_handler([weak](const qmp::Event& event) {
        if (const auto self = weak.lock()) self->on_event(event);
    });
}

boost::asio::awaitable<void> Vm::watch_exit(std::shared_ptr<Running> running) {
    const auto self = shared_from_this();
    co_await wait_for_exit(running->pidfd.get());
    if (running->qmp) {
        // QEMU's last event says why; it is in the socket already, before the end of the stream.
        auto closing = [](Running& of) -> boost::asio::awaitable<Result<>> {
            co_await of.qmp->wait_closed();
            co_return Result<>();
        };
        Error late(ErrorCode::timeout, "QMP still open");
        auto closed = closing(*running);
        co_await with_deadline(std::move(closed), std::chrono::milliseconds(300), std::move(late));
    }
    on_exit(*running);
}

void Vm::on_exit(Running& running) {
    const auto& name = record_.spec.name;
    std::optional<ExitStatus> status;
    if (running.is_child) {
        if (auto reaped = reap(running.pidfd.get())) status = *reaped;
    }
    running.ended = true;
    record_.identity_pending = false;
    if (was_killed_for_memory(status)) machine_.on_cause(Reason::oom);
    if (record_.saved_ram) {
        machine_.on_suspended();
    } else {
        machine_.on_exit(status ? &*status : nullptr);
    }
    log_info(name + " ended: " + (status ? status->describe() : std::string("not our child")) +
             ", " + std::string(lifecycle::to_string(machine_.reason())));
    if (running.console) last_console_ = running.console->last_lines(evidence_lines);
    last_qemu_ = launch::qemu_last_words(files().qemu_log, running.log_offset);
    running.qmp.reset();
    running.console.reset();
    running.guest_port.reset();
    for (const auto& nic : running.nics) {
        nic->let_go();
        nic->nat.reset();
    }
    if (running_.get() == &running) running_.reset();
    ask_what_follows();
    if (const auto lock = launch::take_life_lock(files().lock)) launch::remove_sockets(files());
    if (environment_.cgroups != nullptr) environment_.cgroups->remove_leaf(record_.spec.id);
    forget_ports(running);
    save();
    changed();
    const bool looks = record_.spec.boot.follow && !record_.saved_ram && !following_reboot_ &&
                       !spec::becomes_template(spec());
    if (looks && environment_.look_at_boot)
        tasks_.spawn("boot of " + spec().name, look_after_end());
}

bool Vm::was_killed_for_memory(const std::optional<ExitStatus>& status) const {
    // How QEMU ended is not known where it was no child of ours.
    const bool by_kill = !status || status->signal == SIGKILL;
    return by_kill && environment_.cgroups != nullptr &&
           environment_.cgroups->oom_kills(record_.spec.id) > 0;
}

void Vm::ask_what_follows() {
    // It goes on at once, in another QEMU.
    if (!environment_.on_end || following_reboot_) return;
    const lifecycle::End end{machine_.state(), machine_.reason(), machine_.ended_by_request()};
    heed(environment_.on_end(*this, end));
}

void Vm::heed(const lifecycle::Verdict& verdict) {
    restart_at_.reset();
    record_.restart_pending = verdict.next == lifecycle::Next::start;
    if (record_.restart_pending) restart_at_ = std::chrono::steady_clock::now() + verdict.delay;
    if (verdict.next == lifecycle::Next::give_up && !machine_.is_active()) machine_.on_crash_loop();
}

void Vm::follow(const lifecycle::Verdict& verdict) {
    const bool was_pending = record_.restart_pending;
    heed(verdict);
    const bool gave_up = verdict.next == lifecycle::Next::give_up;
    if (record_.restart_pending != was_pending || gave_up) save();
    changed();
}

boost::asio::awaitable<void> Vm::watch_addresses(std::shared_ptr<Running> running,
                                                 std::shared_ptr<Nic> nic) {
    const auto self = shared_from_this();
    while (nic->watcher) {
        auto next = co_await nic->watcher->next();
        // It went with its card, or with this supervisor.
        if (!next && !nic->watcher) co_return;
        if (!next) {
            // A TAP goes before the end of its QEMU is seen.
            const bool ended = co_await wait_exit(running, std::chrono::seconds(1));
            if (!ended)
                log_warning(spec().name +
                            ": its addresses are not watched any more: " + next.error().message);
            co_return;
        }
        nic->addresses = std::move(*next);
        if (running_ == running) publish_addresses(*nic);
        changed();
    }
}

void Vm::on_event(const qmp::Event& event) {
    publish(event);
    const auto typed = qmp::parse_event(event);
    if (!typed) return log_warning(record_.spec.name + ": " + typed.error().message);
    if (const auto* shutdown = std::get_if<qmp::ShutdownEvent>(&*typed)) {
        if (const auto reason = reason_of(*shutdown); reason != Reason::none)
            machine_.on_cause(reason);
    } else if (std::holds_alternative<qmp::ResumeEvent>(*typed)) {
        if (!following_reboot_) machine_.on_running();
    } else if (std::holds_alternative<qmp::StopEvent>(*typed)) {
        if (!following_reboot_) machine_.on_paused(Reason::unknown);
    } else if (const auto* io = std::get_if<qmp::BlockIoErrorEvent>(&*typed)) {
        if (io->stopped) machine_.on_cause(io->no_space ? Reason::no_space : Reason::io_error);
        log_warning(record_.spec.name + ": disk error: " + io->reason);
    } else if (std::holds_alternative<qmp::ResetEvent>(*typed)) {
        on_guest_reset();
    } else if (const auto* device = std::get_if<qmp::DeviceDeletedEvent>(&*typed)) {
        on_device_deleted(device->device);
    } else if (std::holds_alternative<qmp::GuestPanickedEvent>(*typed)) {
        machine_.on_cause(Reason::guest_panic);
        if (running_) running_->panicked = true;
    }
    changed();
}

/// What was seen of the guest was of the boot before.
void Vm::on_guest_reset() {
    if (!running_) return;
    running_->banner_seen = false;
    running_->panicked = false;
    running_->kernel_seen = false;
    running_->console_tail.clear();
    if (spec::boots_directly(spec().boot))
        tasks_.spawn("reboot of " + spec().name, follow_reboot(running_));
}

void Vm::on_console(std::string_view data) {
    constexpr std::string_view kernel_sign = "Linux version ";
    constexpr std::string_view panic_sign = "Kernel panic - not syncing";
    if (!running_) return;
    auto& running = *running_;
    running.console_tail += data;
    const std::string_view text = running.console_tail;
    // Without firmware there is nobody before the kernel who could say anything.
    if (spec::boots_directly(spec().boot) || text.find(kernel_sign) != text.npos)
        running.kernel_seen = true;
    if (!running.panicked && text.find(panic_sign) != text.npos) running.panicked = true;
    const auto keep = std::max(kernel_sign.size(), panic_sign.size()) - 1;
    if (running.console_tail.size() > keep) {
        running.console_tail.erase(0, running.console_tail.size() - keep);
    }
    changed();
}

}  // namespace noxsup::vm
