// Going back to a snapshot, removing one, and finishing what an earlier supervisor had begun.

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "qmp/commands.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/scope_exit.hpp"
#include "supervisor/launch/host_facts.hpp"
#include "supervisor/launch/ram_state.hpp"
#include "supervisor/vm/vm_running.hpp"
#include "supervisor/vm/vm_snapshots.hpp"

namespace noxsup::vm {
namespace {

using state::SnapshotStep;

constexpr const char* disk_node = "disk";

void take_settings(spec::VmSpec& spec, const state::Snapshot& snapshot) {
    spec.cpus = snapshot.cpus;
    spec.memory_bytes = snapshot.memory_bytes;
    spec.disk.virtual_bytes = snapshot.disk_virtual_bytes;
}

}  // namespace

boost::asio::awaitable<Result<Vm::SnapshotOutcome>> Vm::restore_snapshot(std::string name) {
    const auto self = shared_from_this();
    NOXSUP_CO_TRY(state::find_snapshot(record_.snapshots, name, spec().name));
    Snapshots snapshots(*this);
    NOXSUP_CO_TRY_VALUE(const auto running, co_await snapshots.begin("restore a snapshot of"));
    const ScopeExit done([&snapshots] { snapshots.end(); });
    if (running) {
        co_return Error{ErrorCode::wrong_state,
                        spec().name + " is " + std::string(lifecycle::to_string(machine_.state())) +
                            ", and all that it has done since the snapshot would be lost",
                        "stop it first: noxsup stop " + spec().name + "; or restore with --force"};
    }
    NOXSUP_CO_TRY_VALUE(const auto index,
                        state::find_snapshot(record_.snapshots, name, spec().name));
    auto work = snapshots.restore(record_.snapshots.at(index));
    auto outcome = co_await uncancellable(std::move(work));
    co_return outcome;
}

boost::asio::awaitable<Result<>> Vm::remove_snapshot(std::string name) {
    const auto self = shared_from_this();
    NOXSUP_CO_TRY(state::find_snapshot(record_.snapshots, name, spec().name));
    Snapshots snapshots(*this);
    NOXSUP_CO_TRY(co_await snapshots.begin("remove a snapshot of"));
    const ScopeExit done([&snapshots] { snapshots.end(); });
    NOXSUP_CO_TRY_VALUE(const auto index,
                        state::find_snapshot(record_.snapshots, name, spec().name));
    auto work = snapshots.remove(record_.snapshots.at(index));
    auto outcome = co_await uncancellable(std::move(work));
    co_return outcome;
}

boost::asio::awaitable<Result<>> Vm::finish_snapshot_work() {
    const auto self = shared_from_this();
    while (snapshotting_) co_await condition_.wait();
    if (!record_.snapshot_work) co_return Result<>();
    Snapshots snapshots(*this);
    snapshotting_ = true;
    const ScopeExit done([&snapshots] { snapshots.end(); });
    auto work = snapshots.finish();
    auto outcome = co_await uncancellable(std::move(work));
    co_return outcome;
}

boost::asio::awaitable<void> Vm::carry_on_snapshot_work() {
    const auto self = shared_from_this();
    co_await settled();
    const auto finished = co_await finish_snapshot_work();
    if (!finished)
        log_warning(spec().name + ": a snapshot that was cut off: " + finished.error().message);
}

/// Before a start: a disk between two states is no disk to start from. What is left of a snapshot
/// costs space and no more.
boost::asio::awaitable<Result<>> Vm::settle_disk() {
    if (!record_.snapshot_work || machine_.is_active()) co_return Result<>();
    auto finished = co_await finish_snapshot_work();
    const bool between =
        record_.snapshot_work && record_.snapshot_work->step == SnapshotStep::restore;
    if (!finished && between)
        co_return std::move(finished).error().context("the restore that was cut off");
    if (!finished) log_warning(spec().name + ": " + finished.error().message);
    co_return Result<>();
}

boost::asio::awaitable<Result<>> Vm::Snapshots::copy_vars(std::filesystem::path from,
                                                          std::filesystem::path to) {
    // What an earlier try left.
    ::unlink(to.c_str());
    auto copy = [from, to] { return launch::copy_firmware_vars(from, to); };
    auto copied = co_await run_blocking(vm.environment_.pool, std::move(copy));
    co_return copied;
}

/// Whether the snapshot has a memory that the QEMU of today can load.
boost::asio::awaitable<Result<bool>> Vm::Snapshots::ram_fits(state::Snapshot snapshot,
                                                             SnapshotOutcome& outcome) {
    if (!snapshot.ram) co_return false;
    NOXSUP_CO_TRY_VALUE(const auto qemu, co_await vm.environment_.find_qemu(vm.spec().arch));
    auto spec = vm.spec();
    take_settings(spec, snapshot);
    const auto now = launch::ram_state_key(spec, qemu.version);
    const auto difference = launch::ram_state_difference(snapshot.ram->key, now);
    if (difference.empty()) co_return true;
    outcome.notes.push_back("the guest's memory is not restored: " + difference +
                            "; the next start is a boot");
    co_return false;
}

boost::asio::awaitable<Result<Vm::SnapshotOutcome>> Vm::Snapshots::restore(
    state::Snapshot snapshot) {
    SnapshotOutcome outcome;
    state::SnapshotWork work;
    work.step = SnapshotStep::restore;
    work.tag = snapshot.tag;
    NOXSUP_CO_TRY_VALUE(work.ram, co_await ram_fits(snapshot, outcome));
    // All that may find the disk full comes before the step that cannot be taken back.
    if (snapshot.firmware_vars) {
        auto copying = copy_vars(vars_of(snapshot.tag), coming_vars());
        NOXSUP_CO_TRY(co_await std::move(copying));
    }
    NOXSUP_CO_TRY(save([&work](state::VmRecord& record) { record.snapshot_work = work; }));
    auto putting = put_back(snapshot, false);
    NOXSUP_CO_TRY(co_await std::move(putting));
    log_info(vm.spec().name + " is back at its snapshot " + snapshot.name);
    outcome.snapshot = std::move(snapshot);
    co_return outcome;
}

/// @param again it was cut off before
boost::asio::awaitable<Result<>> Vm::Snapshots::put_back(state::Snapshot snapshot, bool again) {
    if (vm.machine_.is_active())
        co_return Error{ErrorCode::wrong_state, vm.spec().name + " has a QEMU that lives"};
    const bool ram = vm.record_.snapshot_work->ram;
    auto applying = qemu_img.apply_snapshot(vm.files().disk, snapshot.tag);
    auto applied = co_await std::move(applying);
    if (!applied) {
        // qemu-img refused before it changed anything; when it was cut off before, nobody knows.
        if (!again) {
            const auto withdrawn =
                save([](state::VmRecord& record) { record.snapshot_work.reset(); });
            if (!withdrawn) log_warning(withdrawn.error().message);
            ::unlink(coming_vars().c_str());
        }
        co_return applied;
    }
    if (again) {
        auto repairing = qemu_img.repair(vm.files().disk);
        NOXSUP_CO_TRY(co_await std::move(repairing));
        if (snapshot.firmware_vars) {
            auto copying = copy_vars(vars_of(snapshot.tag), coming_vars());
            NOXSUP_CO_TRY(co_await std::move(copying));
        }
    }
    NOXSUP_CO_TRY(put_back_files(snapshot, ram));
    vm.machine_ = lifecycle::Machine(ram ? lifecycle::State::suspended : lifecycle::State::stopped,
                                     lifecycle::Reason::user);
    auto saved = save([&snapshot, ram](state::VmRecord& record) {
        take_settings(record.spec, snapshot);
        record.saved_ram.reset();
        if (ram) record.saved_ram = snapshot.ram;
        record.pending.clear();
        record.snapshot_work.reset();
    });
    co_return saved;
}

Result<> Vm::Snapshots::put_back_files(const state::Snapshot& snapshot, bool ram) const {
    const auto vars = vm.files().firmware_vars;
    if (snapshot.firmware_vars && !vars.empty() &&
        ::rename(coming_vars().c_str(), vars.c_str()) != 0)
        return errno_error("rename to " + vars.string(), errno);
    ::unlink(coming_vars().c_str());
    if (::unlink(vm.ram_file().c_str()) != 0 && errno != ENOENT)
        return errno_error("remove " + vm.ram_file().string(), errno);
    if (ram && ::link(ram_of(snapshot.tag).c_str(), vm.ram_file().c_str()) != 0)
        return errno_error("link " + vm.ram_file().string(), errno);
    return sync_directory(vm.directory());
}

boost::asio::awaitable<Result<>> Vm::Snapshots::remove(state::Snapshot snapshot) {
    state::SnapshotWork work;
    work.step = SnapshotStep::remove;
    work.tag = snapshot.tag;
    NOXSUP_CO_TRY(save([&work](state::VmRecord& record) {
        std::erase_if(record.snapshots, [&work](const auto& one) { return one.tag == work.tag; });
        record.snapshot_work = work;
    }));
    auto taking = take_back(work, false);
    auto finished = co_await std::move(taking);
    if (!finished)
        co_return std::move(finished).error().context(
            "the snapshot is gone, but what it took is not free yet");
    log_info(vm.spec().name + " has the snapshot " + snapshot.name + " no more");
    co_return finished;
}

boost::asio::awaitable<Result<>> Vm::Snapshots::finish() {
    if (!vm.record_.snapshot_work) co_return Result<>();
    const auto work = *vm.record_.snapshot_work;
    const auto& all = vm.record_.snapshots;
    if (work.step == SnapshotStep::restore) {
        const auto found = std::ranges::find(all, work.tag, &state::Snapshot::tag);
        if (found == all.end())
            co_return Error{ErrorCode::failed, "the snapshot " + work.tag + " is not there"};
        auto putting = put_back(*found, true);
        auto outcome = co_await std::move(putting);
        co_return outcome;
    }
    auto taking = take_back(work, true);
    auto outcome = co_await std::move(taking);
    co_return outcome;
}

/// Takes a snapshot that is not, or no more, in the record out of the disk, and its files away.
/// @param again what was done with it may have been cut off
boost::asio::awaitable<Result<>> Vm::Snapshots::take_back(state::SnapshotWork work, bool again) {
    if (vm.machine_.is_active()) {
        const auto running = vm.running_;
        bool reached = false;
        if (running) reached = co_await vm.reach(running);
        if (!reached)
            co_return Error{ErrorCode::qemu_failed,
                            "QEMU of " + vm.spec().name + " does not answer"};
        auto going = go_on(running, work);
        NOXSUP_CO_TRY(co_await std::move(going));
        if (!running->qmp) co_return Error{ErrorCode::qemu_failed, "QEMU has just ended"};
        NOXSUP_CO_TRY(co_await qmp::delete_snapshot_internal(*running->qmp, disk_node, work.tag));
    } else {
        auto removing = qemu_img.remove_snapshot(vm.files().disk, work.tag);
        NOXSUP_CO_TRY(co_await std::move(removing));
        if (again) {
            auto repairing = qemu_img.repair(vm.files().disk);
            NOXSUP_CO_TRY(co_await std::move(repairing));
        }
    }
    ::unlink(vars_of(work.tag).c_str());
    ::unlink(ram_of(work.tag).c_str());
    co_return save([](state::VmRecord& record) { record.snapshot_work.reset(); });
}

/// The guest is as it was before the snapshot was begun, its disks open.
boost::asio::awaitable<Result<>> Vm::Snapshots::go_on(std::shared_ptr<Running> running,
                                                      state::SnapshotWork work) {
    NOXSUP_CO_TRY_VALUE(auto status, co_await qmp::query_status(*running->qmp));
    if (status.state == qmp::RunState::finish_migrate) {
        NOXSUP_CO_TRY(co_await qmp::migrate_cancel(*running->qmp));
        NOXSUP_CO_TRY_VALUE(status, co_await qmp::query_status(*running->qmp));
    }
    if (work.resume && !status.running) NOXSUP_CO_TRY(co_await vm.let_run(*running->qmp));
    if (!work.resume && status.state == qmp::RunState::postmigrate)
        NOXSUP_CO_TRY(co_await stand_still(running, false));
    if (work.thaw) co_await thaw(nullptr);
    co_return Result<>();
}

}  // namespace noxsup::vm
