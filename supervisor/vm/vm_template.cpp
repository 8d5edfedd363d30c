// A VM that becomes a template, and one that begins as a copy of it: RAM in a file that all copies
// map, the devices in a stream of QEMU's, and in the guest another identity.

#include "imaging/guest_identity.hpp"
#include "qmp/commands.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/random.hpp"
#include "supervisor/base/scope_exit.hpp"
#include "supervisor/vm/free_pages.hpp"
#include "supervisor/vm/guest_orders.hpp"
#include "supervisor/vm/vm_running.hpp"

namespace noxsup::vm {
namespace {

/// A guest's shell script of some dozen processes, emulated on a busy machine.
constexpr std::chrono::seconds identity_limit{180};
/// It waits for the end of the boot as well.
constexpr std::chrono::minutes settle_limit{15};
constexpr std::size_t token_bytes = 8;
/// RAM that is in a file of its own is none of a stream's.
constexpr const char* ignore_shared = "x-ignore-shared";

boost::asio::awaitable<Result<>> leave_ram_out(qmp::Client& client, bool on) {
    std::vector<qmp::MigrationCapability> capabilities;
    capabilities.emplace_back(ignore_shared, on);
    auto setting = qmp::migrate_set_capabilities(client, std::move(capabilities));
    co_return co_await std::move(setting);
}

}  // namespace

boost::asio::awaitable<Result<>> Vm::start_with(RamStart ram, Stages& stages) {
    const auto self = shared_from_this();
    {
        ram_start_ = std::move(ram);
        const ScopeExit forget([this] { ram_start_.reset(); });
        auto started = co_await start(stages);
        if (!started) {
            // Its next start is a boot, which no supervisor may take for a copy without an
            // identity.
            record_.identity_pending = false;
            save();
            co_return std::move(started).error();
        }
    }
    if (!record_.identity_pending) co_return Result<>();
    stages.begin("identity");
    auto waiting = await_identity(running_);
    auto given = co_await std::move(waiting);
    if (!given) {
        auto error = std::move(given).error();
        error.stage = "identity";
        const StopLimits limits;
        const auto ended = co_await stop(true, limits);
        if (!ended) log_error(spec().name + ": " + ended.error().message);
        error.hint = "let it boot instead: noxsup start " + spec().name;
        co_return error;
    }
    stages.end();
    record_.identity_pending = false;
    save();
    // Its sshd was there before it: one connection less to wait for.
    if (running_) running_->banner_seen = true;
    co_return Result<>();
}

void Vm::use_ram_file(launch::StartRequest& request, Running& running) const {
    if (!ram_start_) return;
    request.ram_file.fd = ram_start_->ram->get();
    request.ram_file.shared = ram_start_->shared;
    running.ram = ram_start_->ram;
    running.shares_ram = ram_start_->shared;
    if (ram_start_->shared) return;
    request.ram = launch::Ram::incoming;
    // QEMU would keep both in memory of its own for as long as it runs.
    request.files.kernel.clear();
    request.files.initrd.clear();
    running.lacks_kernel = true;
}

/// The guest gets its orders before it goes on: it reads them as its first act.
boost::asio::awaitable<Result<>> Vm::load_template(Running& running) {
    NOXSUP_CO_TRY(co_await leave_ram_out(*running.qmp, true));
    auto filling = ram_start_->ready();
    NOXSUP_CO_TRY(co_await std::move(filling));
    auto reading = read_stream(running, std::move(ram_start_->devices));
    NOXSUP_CO_TRY(co_await std::move(reading));
    // What it is suspended to has all of its RAM.
    NOXSUP_CO_TRY(co_await leave_ram_out(*running.qmp, false));
    running.kernel_seen = true;
    // With nothing behind it the template's card was without a carrier.
    for (const auto& card : spec().networks)
        NOXSUP_CO_TRY(co_await qmp::set_link(*running.qmp, launch::netdev_id(card), true));
    order_token_ = random_hex(token_bytes);
    co_return post_order(running.guest_port.get(), ram_start_->identity(), order_token_);
}

boost::asio::awaitable<Result<>> Vm::await_identity(std::shared_ptr<Running> running) {
    if (!running) co_return Error{ErrorCode::guest_failed, "QEMU ended"};
    auto waiting = await_order(running->guest_port.get(), order_token_, identity_limit);
    NOXSUP_CO_TRY(co_await std::move(waiting));
    co_return Result<>();
}

/// A supervisor before this one began it, and nobody can tell how far its guest has come. It holds
/// nothing yet that its template has not.
boost::asio::awaitable<void> Vm::end_without_identity() {
    const auto self = shared_from_this();
    log_warning(spec().name +
                " was not known to have taken its identity: it is ended, and boots when it is "
                "started");
    const StopLimits limits;
    const auto ended = co_await stop(true, limits);
    if (!ended) log_error(spec().name + ": " + ended.error().message);
}

/// What the guest says of it.
boost::asio::awaitable<Result<std::string>> Vm::carry_out(std::shared_ptr<Running> running,
                                                          std::string orders) {
    const auto token = random_hex(token_bytes);
    NOXSUP_CO_TRY(post_order(running->guest_port.get(), orders, token));
    auto waiting = await_order(running->guest_port.get(), token, settle_limit);
    co_return co_await std::move(waiting);
}

/// The files that its boot has read would be in every copy's memory; those of a login, which is the
/// first thing that a copy does, are read once more.
boost::asio::awaitable<Result<>> Vm::freeze(std::filesystem::path devices, SuspendWatch watch) {
    const auto self = shared_from_this();
    NOXSUP_CO_TRY_VALUE(const auto running, co_await reach_for("freeze"));
    if (!running->shares_ram || !running->guest_port) {
        co_return Error{ErrorCode::wrong_state,
                        spec().name + " was not started to become a template, or has rebooted"};
    }
    auto forgetting = carry_out(running, imaging::forget_boot_orders());
    NOXSUP_CO_TRY(co_await std::move(forgetting));
    auto login = wait_login(std::chrono::steady_clock::now() + settle_limit);
    NOXSUP_CO_TRY(co_await std::move(login));
    std::vector<std::string> macs;
    for (const auto& card : spec().networks) macs.push_back(card.mac);
    auto settling = carry_out(running, imaging::settle_orders(spec().user, macs));
    NOXSUP_CO_TRY_VALUE(const auto words, co_await std::move(settling));
    auto emptying = empty_free_pages(*running->qmp, spec().memory_bytes, free_bytes_of(words));
    NOXSUP_CO_TRY(co_await std::move(emptying));
    suspending_ = true;
    const ScopeExit done([this] {
        suspending_ = false;
        changed();
    });
    auto work = freeze_running(running, std::move(devices), std::move(watch));
    co_return co_await uncancellable(std::move(work));
}

boost::asio::awaitable<Result<>> Vm::freeze_running(std::shared_ptr<Running> running,
                                                    std::filesystem::path devices,
                                                    SuspendWatch watch) {
    machine_.on_pause_requested();
    NOXSUP_CO_TRY(co_await qmp::stop(*running->qmp));
    NOXSUP_CO_TRY(co_await leave_ram_out(*running->qmp, true));
    // What is behind its cards stays out of it: user-mode networking has a state of its own, in
    // which the template's guest has the address that a copy's is to get.
    for (const auto& card : spec().networks)
        NOXSUP_CO_TRY(co_await qmp::netdev_del(*running->qmp, launch::netdev_id(card)));
    auto writing = write_stream(running, std::move(devices), std::move(watch));
    NOXSUP_CO_TRY(co_await std::move(writing));
    const StopLimits limits;
    NOXSUP_CO_TRY(co_await end_process(running, true, limits));
    co_return Result<>();
}

}  // namespace noxsup::vm
