// Suspending to disk: RAM and devices as QEMU's migration stream in the VM's directory, and back.

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>

#include "qmp/commands.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/base/time.hpp"
#include "supervisor/launch/ram_state.hpp"
#include "supervisor/vm/vm_running.hpp"

namespace noxsup::vm {
namespace {

using lifecycle::State;

/// A migration that moves nothing for so long will move nothing any more.
constexpr std::chrono::seconds standstill_limit{60};
/// A template's devices are there in milliseconds, a guest's RAM after seconds: each look is twice
/// as long after the one before, up to the longest.
constexpr std::chrono::milliseconds first_look{2};
constexpr std::chrono::milliseconds longest_look{50};
/// Devices and page headers beside the RAM itself.
constexpr std::uint64_t stream_overhead_bytes = std::uint64_t{32} << 20;
/// A medium is as fast as it is; QEMU's own limit is for networks.
constexpr std::uint64_t no_bandwidth_limit = std::uint64_t{1} << 40;
constexpr const char* fd_name = "ram-state";

Result<> check_space(const std::filesystem::path& directory, std::uint64_t needed) {
    struct statvfs space {};
    if (::statvfs(directory.c_str(), &space) != 0)
        return errno_error("look at " + directory.string(), errno);
    const auto free = static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
    if (free >= needed) return {};
    return Error{ErrorCode::no_space,
                 "only " + format_bytes(free) + " are free, and the guest's memory may take " +
                     format_bytes(needed),
                 "free some space, or stand it still in memory: noxsup pause"};
}

}  // namespace

boost::asio::awaitable<Result<>> Vm::suspend(SuspendWatch watch) {
    const auto self = shared_from_this();
    co_await settled();
    NOXSUP_CO_TRY(check_not_saving());
    if (machine_.state() == State::suspended) co_return Result<>();
    NOXSUP_CO_TRY_VALUE(const auto running, co_await reach_for("suspend"));
    // Its key is of the cards that there are.
    if (changing_cards_) {
        co_return Error{ErrorCode::wrong_state,
                        "a network card of " + spec().name + " is being attached or detached",
                        "try again when that is done"};
    }
    if (!record_.pending.empty()) {
        co_return Error{ErrorCode::wrong_state,
                        spec().name + " waits for a restart to have its new settings (" +
                            noxsup::join(record_.pending, ", ") +
                            "), and a suspended guest keeps the old",
                        "noxsup restart " + spec().name};
    }
    suspending_ = true;
    // QEMU must not be left with half a migration because somebody pressed Ctrl-C.
    auto work = suspend_running(running, std::move(watch));
    auto outcome = co_await uncancellable(std::move(work));
    suspending_ = false;
    changed();
    co_return outcome;
}

boost::asio::awaitable<Result<>> Vm::suspend_running(std::shared_ptr<Running> running,
                                                     SuspendWatch watch) {
    NOXSUP_CO_TRY_VALUE(const auto status, co_await qmp::query_status(*running->qmp));
    const bool ran = status.running;
    if (status.state == qmp::RunState::postmigrate) {
        // A supervisor ended between the saving and QEMU's end; QEMU saves again only if it ran.
        NOXSUP_CO_TRY(co_await let_run(*running->qmp));
    }
    machine_.on_pause_requested();
    NOXSUP_CO_TRY(co_await qmp::stop(*running->qmp));
    auto saved = co_await save_ram(running, std::move(watch));
    if (!saved) {
        ::unlink(ram_file().c_str());
        if (ran && running->qmp) {
            const auto gone_on = co_await let_run(*running->qmp);
            if (!gone_on) log_error(spec().name + " stays paused: " + gone_on.error().message);
        }
        co_return saved;
    }
    const StopLimits limits;
    NOXSUP_CO_TRY(co_await end_process(running, true, limits));
    log_info(spec().name + " is suspended to " + ram_file().string());
    co_return Result<>();
}

boost::asio::awaitable<Result<>> Vm::save_ram(std::shared_ptr<Running> running,
                                              SuspendWatch watch) {
    NOXSUP_CO_TRY_VALUE(auto saved, co_await save_ram_to(running, ram_file(), std::move(watch)));
    // Recorded before QEMU ends: from here on nothing that happens loses the guest.
    auto record = current_record();
    record.saved_ram = std::move(saved);
    NOXSUP_CO_TRY(environment_.store.save(record));
    record_ = std::move(record);
    co_return Result<>();
}

/// RAM and devices of a guest that stands still, to a new file. QEMU's disks are closed then, until
/// the guest goes on.
boost::asio::awaitable<Result<state::SavedRam>> Vm::save_ram_to(std::shared_ptr<Running> running,
                                                                std::filesystem::path path,
                                                                SuspendWatch watch) {
    NOXSUP_CO_TRY(check_space(path.parent_path(), spec().memory_bytes + stream_overhead_bytes));
    NOXSUP_CO_TRY_VALUE(const auto version, co_await qmp::query_version(*running->qmp));
    auto writing = write_stream(running, std::move(path), std::move(watch));
    NOXSUP_CO_TRY(co_await std::move(writing));
    state::SavedRam saved;
    saved.key = launch::ram_state_key(spec(), version.text());
    saved.saved_at = rfc3339_now();
    for (const auto& nic : running->nics) {
        for (const auto& address : netbridge::credible_addresses(nic->addresses))
            saved.addresses[nic->card.mac].push_back(address.to_string());
    }
    co_return saved;
}

/// QEMU's migration stream to a new file, on the medium when it is done.
boost::asio::awaitable<Result<>> Vm::write_stream(std::shared_ptr<Running> running,
                                                  std::filesystem::path path, SuspendWatch watch) {
    // Never into the file that is there: a snapshot may have the same one.
    ::unlink(path.c_str());
    auto file = open_file(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (!file) co_return std::move(file).error();
    UniqueFd for_qemu(::fcntl(file->get(), F_DUPFD_CLOEXEC, 0));
    if (!for_qemu) co_return errno_error("duplicate a descriptor", errno);
    Json parameters{{"max-bandwidth", no_bandwidth_limit}};
    NOXSUP_CO_TRY(co_await qmp::migrate_set_parameters(*running->qmp, std::move(parameters)));
    NOXSUP_CO_TRY(co_await qmp::getfd(*running->qmp, fd_name, std::move(for_qemu)));
    NOXSUP_CO_TRY(co_await qmp::migrate(*running->qmp, std::string("fd:") + fd_name));
    NOXSUP_CO_TRY(co_await follow_migration(*running, std::move(watch)));
    auto sync = [fd = file->get()] { return ::fsync(fd) == 0 ? 0 : errno; };
    const int failure = co_await run_blocking(environment_.pool, std::move(sync));
    if (failure != 0) co_return errno_error("write " + path.string(), failure);
    co_return sync_directory(path.parent_path());
}

boost::asio::awaitable<Result<>> Vm::follow_migration(Running& running, SuspendWatch watch) {
    auto last_move = std::chrono::steady_clock::now();
    std::uint64_t transferred = 0;
    for (auto pause = first_look;; pause = std::min(2 * pause, longest_look)) {
        if (!running.qmp) co_return Error{ErrorCode::qemu_failed, "QEMU has ended"};
        NOXSUP_CO_TRY_VALUE(const auto info, co_await qmp::query_migrate(*running.qmp));
        if (info.status == qmp::MigrationStatus::completed) co_return Result<>();
        if (qmp::is_final(info.status)) {
            co_return Error{ErrorCode::qemu_failed,
                            "QEMU did not save the guest's memory: " +
                                (info.error.empty() ? "no reason given" : info.error)};
        }
        if (watch.progress && info.ram_total != 0)
            watch.progress(info.ram_total - info.ram_remaining, info.ram_total);
        const auto now = std::chrono::steady_clock::now();
        if (info.ram_transferred != transferred) {
            transferred = info.ram_transferred;
            last_move = now;
        }
        const bool cancelled = watch.cancelled && watch.cancelled();
        if (cancelled || now - last_move > standstill_limit) {
            NOXSUP_CO_TRY(co_await qmp::migrate_cancel(*running.qmp));
            co_return cancelled
                ? Error{ErrorCode::interrupted, "interrupted; " + spec().name + " goes on"}
                : Error{ErrorCode::timeout, "the guest's memory is not being written any more",
                        "look at the host's disk and dmesg"};
        }
        co_await sleep_for(pause);
    }
}

/// A QEMU that waits for its RAM gets what was saved.
boost::asio::awaitable<Result<>> Vm::load_ram(Running& running) {
    auto file = open_file(ram_file(), O_RDONLY | O_NOFOLLOW);
    if (!file) co_return std::move(file).error();
    auto reading = read_stream(running, *std::move(file));
    co_return co_await std::move(reading);
}

boost::asio::awaitable<Result<>> Vm::read_stream(Running& running, UniqueFd stream) {
    NOXSUP_CO_TRY(co_await qmp::getfd(*running.qmp, fd_name, std::move(stream)));
    NOXSUP_CO_TRY(co_await qmp::migrate_incoming(*running.qmp, std::string("fd:") + fd_name));
    SuspendWatch nobody;
    NOXSUP_CO_TRY(co_await follow_migration(running, std::move(nobody)));
    co_return Result<>();
}

Result<> Vm::check_ram_fits(const launch::QemuBinary& qemu) const {
    const auto now = launch::ram_state_key(spec(), qemu.version);
    const auto difference = launch::ram_state_difference(record_.saved_ram->key, now);
    if (difference.empty()) return {};
    return Error{ErrorCode::wrong_state,
                 spec().name + " cannot go on from where it was suspended: " + difference,
                 "boot it, without the memory it had: noxsup start --cold " + spec().name};
}

/// The guest is about to take a step: what was saved of its RAM is of the past from here on.
Result<> Vm::strike_out_ram() {
    if (!record_.saved_ram) return {};
    auto record = current_record();
    record.saved_ram.reset();
    NOXSUP_TRY(environment_.store.save(record));
    record_ = std::move(record);
    ::unlink(ram_file().c_str());
    return {};
}

/// `cont`, the one way in which a guest goes on.
boost::asio::awaitable<Result<>> Vm::let_run(qmp::Client& client) {
    NOXSUP_CO_TRY(strike_out_ram());
    auto outcome = co_await qmp::cont(client);
    co_return outcome;
}

Result<> Vm::discard_ram() {
    if (!record_.saved_ram) return {};
    if (machine_.is_active()) {
        return Error{ErrorCode::wrong_state, spec().name + " has a QEMU that lives",
                     "let it go on with noxsup resume " + spec().name};
    }
    NOXSUP_TRY(check_not_saving());
    NOXSUP_TRY(strike_out_ram());
    machine_.on_ram_discarded();
    save();
    changed();
    return {};
}

}  // namespace noxsup::vm
