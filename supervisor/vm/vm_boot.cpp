// A boot that follows the guest's disk: the machine loads the kernel that the guest's own boot menu
// names, also after the guest has got another one; where that cannot be, it goes through the
// firmware.

#include <sys/socket.h>

#include <algorithm>

#include "qmp/commands.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/scope_exit.hpp"
#include "supervisor/base/unix_socket.hpp"
#include "supervisor/vm/vm_running.hpp"

namespace noxsup::vm {
namespace {

namespace fs = std::filesystem;

/// How long a QEMU may take to quit that has only to do so.
constexpr std::chrono::seconds quit_limit{60};

/// A guest's shutdown takes less, or systemd has given up on what it waits for.
constexpr std::chrono::seconds unseen_reboot_pause{95};

/// Whether something in the guest has our port open.
boost::asio::awaitable<Result<bool>> guest_listens(qmp::Client& client) {
    NOXSUP_CO_TRY_VALUE(const auto devices, co_await qmp::query_chardev(client));
    const auto port = std::ranges::find(devices, "guest", &qmp::Chardev::label);
    co_return port == devices.end() || port->frontend_open;
}

Result<> go_through_firmware(spec::VmSpec& spec, const fs::path& directory) {
    NOXSUP_TRY_VALUE(const auto firmware, launch::find_firmware(spec.arch));
    const auto vars = directory / "efivars.fd";
    std::error_code ignored;
    if (!fs::exists(vars, ignored))
        NOXSUP_TRY(launch::copy_firmware_vars(firmware.vars_template, vars));
    spec.boot = spec::Boot();
    spec.boot.follow = true;
    spec.boot.firmware_code = firmware.code;
    return {};
}

}  // namespace

/// Before a start: what was not looked at when the guest ended is looked at now.
boost::asio::awaitable<Result<>> Vm::settle_boot() {
    while (looking_at_boot_) co_await condition_.wait();
    // A guest that goes on has its kernel.
    const bool boots = !record_.saved_ram && !is_warm_start();
    if (!record_.spec.boot.follow || !boots || !environment_.look_at_boot) co_return Result<>();
    if (!record_.boot_mark.empty() && record_.boot_mark == state::mark_of_disk(files().disk))
        co_return Result<>();
    auto outcome = co_await follow_disk();
    if (!outcome) co_return std::move(outcome).error();
    co_return Result<>();
}

/// After an end, so that the next start need not wait for it.
boost::asio::awaitable<void> Vm::look_after_end() {
    const auto self = shared_from_this();
    const auto looked = co_await follow_disk();
    if (!looked && looked.error().code != ErrorCode::interrupted)
        log_warning(spec().name + ": what it boots next is not known: " + looked.error().message);
}

/// Looks at a disk that nobody writes to, and makes what the next start loads. Returns whether that
/// is another thing than before. Errors: io_error, no_space, host_lacks_qemu (no firmware),
/// interrupted.
boost::asio::awaitable<Result<bool>> Vm::follow_disk() {
    looking_at_boot_ = true;
    const ScopeExit done([this] {
        looking_at_boot_ = false;
        changed();
    });
    const auto& boot = record_.spec.boot;
    const auto mark = state::mark_of_disk(files().disk);
    imaging::BootQuery query;
    query.disk = files().disk;
    query.base = files().base;
    query.directory = directory() / own_boot_directory;
    query.arch = std::string(to_string(record_.spec.arch));
    if (spec::boots_directly(boot)) query.known = boot.source;
    auto looking = environment_.look_at_boot(std::move(query));
    auto look = co_await std::move(looking);
    if (!look) co_return std::move(look).error();
    NOXSUP_CO_TRY_VALUE(const bool is_new, take_boot(*look));
    const bool still = mark == state::mark_of_disk(files().disk);
    const auto seen = still ? mark : std::string();
    if (is_new || record_.boot_mark != seen) {
        record_.boot_mark = seen;
        save();
    }
    co_return is_new;
}

Result<bool> Vm::take_boot(const imaging::BootLook& look) {
    auto spec = record_.spec;
    auto& boot = spec.boot;
    if (look.direct) {
        if (spec::boots_directly(boot) && boot.source == look.direct->source) return false;
        boot = spec::Boot();
        boot.mode = spec::BootMode::kernel;
        boot.follow = true;
        boot.kernel = std::string(own_boot_directory) + "/kernel";
        boot.initrd = std::string(own_boot_directory) + "/initrd";
        boot.command_line = look.direct->command_line;
        boot.source = look.direct->source;
        boot.kernel_name = look.direct->kernel_name;
        log_info(spec.name + " boots " + boot.kernel_name + " from here on");
    } else {
        if (boot.mode == spec::BootMode::firmware) return false;
        NOXSUP_TRY(go_through_firmware(spec, directory()));
        log_warning(spec.name + " boots through the firmware from here on: " + look.why_not);
    }
    NOXSUP_TRY(spec::validate(spec));
    record_.spec = std::move(spec);
    return true;
}

/// The guest was reset, by itself or by us. QEMU would give it the kernel again that it loaded at
/// its start; where the guest has another one meanwhile, or QEMU none, a new QEMU takes this one's
/// place. The guest stands still while its disk is looked at: it has not run yet.
boost::asio::awaitable<void> Vm::follow_reboot(std::shared_ptr<Running> running) {
    const auto self = shared_from_this();
    if (following_reboot_ || !environment_.look_at_boot) co_return;
    following_reboot_ = true;
    const ScopeExit done([this] {
        following_reboot_ = false;
        changed();
    });
    if (!running->qmp) co_return;
    const bool ran = machine_.state() == lifecycle::State::running;
    const auto stood = co_await qmp::stop(*running->qmp);
    if (!stood) co_return;
    const auto is_new = co_await follow_disk();
    if (running->ended || !running->qmp) co_return;
    if (!is_new)
        log_warning(spec().name + ": what it boots now is not known: " + is_new.error().message);
    if (!running->lacks_kernel && (!is_new || !*is_new)) {
        if (!ran) co_return;
        const auto going = co_await qmp::cont(*running->qmp);
        if (!going) log_warning(spec().name + " stands still: " + going.error().message);
        if (going && machine_.state() == lifecycle::State::paused) machine_.on_running();
        co_return;
    }
    machine_.on_cause(lifecycle::Reason::guest_reset);
    co_await qmp::quit(*running->qmp);
    const bool ended = co_await wait_exit(running, quit_limit);
    // Somebody's stop, whose guest began anew instead of ending.
    if (!ended || machine_.ended_by_request()) co_return;
    Stages stages;
    const auto started = co_await start(stages);
    if (!started) log_error(spec().name + " did not reboot: " + started.error().message);
}

/// While no supervisor ran, a guest may have been reset whose QEMU has no kernel for it. On amd64
/// the firmware has booted it from its disk; on arm64 there is none, and it stands still with the
/// port closed at which a unit of ours listens as long as a guest runs.
boost::asio::awaitable<void> Vm::follow_unseen_reboot(std::shared_ptr<Running> running) {
    const auto self = shared_from_this();
    // One that shuts down closes it as well, and then ends.
    constexpr int looks = 2;
    for (int look = 0; look < looks; ++look) {
        if (look > 0) {
            const bool slept = co_await sleep_for(unseen_reboot_pause);
            if (!slept) co_return;
        }
        if (running->ended || !running->qmp) co_return;
        const auto listens = co_await guest_listens(*running->qmp);
        if (!listens || *listens) co_return;
    }
    log_info(spec().name + " was reset while no supervisor ran");
    on_guest_reset();
}

Result<> Vm::connect_guest_port(Running& running) const {
    if (!record_.spec.boot.follow) return {};
    NOXSUP_TRY_VALUE(running.guest_port, connect_unix(files().guest_port_socket()));
    return {};
}

/// Without ACPI there is no button; a unit of ours in the guest listens instead
/// (launch/guest_units).
void Vm::tell_guest_to_power_off(const Running& running) const {
    const auto& spec = record_.spec;
    if (!running.guest_port || !spec::boots_directly(spec.boot) || spec.arch != spec::Arch::arm64)
        return;
    constexpr std::string_view word = "poweroff\n";
    // What does not go through now is said again with the next press of the button.
    static_cast<void>(
        ::send(running.guest_port.get(), word.data(), word.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
}

}  // namespace noxsup::vm
