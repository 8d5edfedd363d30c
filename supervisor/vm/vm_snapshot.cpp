// Taking a snapshot: of a VM that is off, and of one whose guest stands still for a moment.

#include <unistd.h>

#include <algorithm>

#include "qmp/commands.hpp"
#include "supervisor/base/disk_use.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/random.hpp"
#include "supervisor/base/scope_exit.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/base/time.hpp"
#include "supervisor/vm/guest_freeze.hpp"
#include "supervisor/vm/vm_running.hpp"
#include "supervisor/vm/vm_snapshots.hpp"

namespace noxsup::vm {
namespace {

using lifecycle::State;

constexpr const char* disk_node = "disk";

Error qemu_has_ended() {
    return {ErrorCode::qemu_failed, "QEMU has just ended"};
}

}  // namespace

Result<> Vm::check_not_saving() const {
    if (suspending_)
        return Error{ErrorCode::wrong_state, spec().name + " is being suspended",
                     "try again when that is done"};
    if (snapshotting_)
        return Error{ErrorCode::wrong_state, "a snapshot of " + spec().name + " is being worked on",
                     "try again when that is done"};
    return {};
}

boost::asio::awaitable<Result<Vm::SnapshotOutcome>> Vm::create_snapshot(SnapshotRequest request,
                                                                        SuspendWatch watch) {
    const auto self = shared_from_this();
    Snapshots snapshots(*this);
    NOXSUP_CO_TRY_VALUE(auto running, co_await snapshots.begin("take a snapshot of"));
    const ScopeExit done([&snapshots] { snapshots.end(); });
    // A guest must not be left standing because somebody pressed Ctrl-C.
    auto work = snapshots.create(std::move(request), std::move(watch), std::move(running));
    auto outcome = co_await uncancellable(std::move(work));
    co_return outcome;
}

boost::asio::awaitable<Result<std::shared_ptr<Vm::Running>>> Vm::Snapshots::begin(
    const char* what) {
    co_await vm.settled();
    while (vm.machine_.state() == State::starting) co_await vm.condition_.wait();
    NOXSUP_CO_TRY(vm.check_not_saving());
    std::shared_ptr<Running> running;
    if (vm.machine_.is_active()) {
        auto reaching = vm.reach_for(what);
        NOXSUP_CO_TRY_VALUE(running, co_await std::move(reaching));
    }
    if (vm.record_.snapshot_work) NOXSUP_CO_TRY(co_await vm.finish_snapshot_work());
    // From here on without a wait.
    NOXSUP_CO_TRY(vm.check_not_saving());
    const auto& name = vm.spec().name;
    if (vm.deleted_) co_return Error{ErrorCode::wrong_state, name + " is being deleted"};
    if (vm.changing_cards_) {
        co_return Error{ErrorCode::wrong_state,
                        "a network card of " + name + " is being attached or detached",
                        "try again when that is done"};
    }
    if (vm.machine_.is_active() != (running != nullptr) || (running && !running->qmp)) {
        co_return Error{ErrorCode::wrong_state,
                        name + " is " + std::string(lifecycle::to_string(vm.machine_.state())),
                        "try again when that is over"};
    }
    vm.snapshotting_ = true;
    co_return running;
}

void Vm::Snapshots::end() const {
    vm.snapshotting_ = false;
    vm.changed();
}

/// On disk first; nothing is changed when that fails.
Result<> Vm::Snapshots::save(const std::function<void(state::VmRecord&)>& edit) const {
    auto record = vm.current_record();
    edit(record);
    NOXSUP_TRY(vm.environment_.store.save(record));
    vm.record_ = std::move(record);
    return {};
}

Result<state::Snapshot> Vm::Snapshots::sketch(const SnapshotRequest& request) const {
    const auto& all = vm.record_.snapshots;
    const auto& spec = vm.spec();
    state::Snapshot snapshot;
    snapshot.name = request.name.empty() ? state::next_snapshot_name(all) : request.name;
    NOXSUP_TRY(state::check_snapshot_name(snapshot.name));
    if (std::ranges::find(all, snapshot.name, &state::Snapshot::name) != all.end()) {
        return Error{ErrorCode::already_exists,
                     spec.name + " has a snapshot named " + snapshot.name + " already",
                     "choose another name, or remove it with noxsup snapshot rm " + spec.name +
                         " " + snapshot.name};
    }
    if (all.size() >= state::max_snapshots) {
        return Error{
            ErrorCode::wrong_state,
            spec.name + " has " + std::to_string(all.size()) + " snapshots, and no VM has more",
            "remove one with noxsup snapshot rm " + spec.name + " " + all.front().name};
    }
    snapshot.tag = snapshot.name + "." + random_hex(4);
    snapshot.created_at = rfc3339_now();
    snapshot.comment = request.comment;
    snapshot.state = vm.machine_.state();
    snapshot.cpus = spec.cpus;
    snapshot.memory_bytes = spec.memory_bytes;
    snapshot.disk_virtual_bytes = spec.disk.virtual_bytes;
    snapshot.disk_used_bytes = used_bytes(vm.files().disk);
    return snapshot;
}

boost::asio::awaitable<Result<Vm::SnapshotOutcome>> Vm::Snapshots::create(
    SnapshotRequest request, SuspendWatch watch, std::shared_ptr<Running> running) {
    NOXSUP_CO_TRY_VALUE(auto snapshot, sketch(request));
    const auto& name = vm.spec().name;
    if (request.ram && !running && !vm.record_.saved_ram) {
        co_return Error{ErrorCode::wrong_state, name + " does not run, so it has no memory to save",
                        "leave --ram out, or start it first: noxsup start " + name};
    }
    if (request.ram && running && !vm.record_.pending.empty()) {
        co_return Error{ErrorCode::wrong_state,
                        name + " waits for a restart to have its new settings (" +
                            noxsup::join(vm.record_.pending, ", ") +
                            "), and a saved guest keeps the old",
                        "noxsup restart " + name + ", or leave --ram out"};
    }
    NOXSUP_CO_TRY(make_directories(directory(), 0700));
    state::SnapshotWork work;
    work.tag = snapshot.tag;
    work.resume = running && vm.machine_.state() == State::running;
    work.thaw = work.resume && !request.ram;
    NOXSUP_CO_TRY(save([&work](state::VmRecord& record) { record.snapshot_work = work; }));
    SnapshotOutcome outcome;
    Result<> taken;
    if (running) {
        taken = co_await take(snapshot, std::move(watch), request.ram, running, outcome);
    } else {
        taken = co_await take_stopped(snapshot);
    }
    if (taken) taken = sync_directory(directory());
    if (taken) {
        measure(snapshot);
        taken = save([&snapshot](state::VmRecord& record) {
            record.snapshots.push_back(snapshot);
            record.snapshot_work.reset();
        });
    }
    if (!taken) {
        const auto undone = co_await finish();
        if (!undone) log_warning(name + ": " + undone.error().message);
        co_return std::move(taken).error();
    }
    log_info(name + " has the snapshot " + snapshot.name);
    outcome.snapshot = std::move(snapshot);
    co_return outcome;
}

boost::asio::awaitable<Result<>> Vm::Snapshots::take_stopped(state::Snapshot& snapshot) {
    auto work = qemu_img.create_snapshot(vm.files().disk, snapshot.tag);
    NOXSUP_CO_TRY(co_await std::move(work));
    NOXSUP_CO_TRY(co_await keep_vars(snapshot));
    if (!vm.record_.saved_ram) co_return Result<>();
    // A suspended guest's memory is one that nobody writes any more: another name for the file.
    const auto file = ram_of(snapshot.tag);
    if (::link(vm.ram_file().c_str(), file.c_str()) != 0)
        co_return errno_error("link " + file.string(), errno);
    snapshot.ram = vm.record_.saved_ram;
    co_return Result<>();
}

/// Of a VM with a QEMU: the guest stands still for it, and goes on.
boost::asio::awaitable<Result<>> Vm::Snapshots::take(state::Snapshot& snapshot, SuspendWatch watch,
                                                     bool ram, std::shared_ptr<Running> running,
                                                     SnapshotOutcome& outcome) {
    const bool ran = vm.record_.snapshot_work->resume;
    if (vm.record_.snapshot_work->thaw) {
        snapshot.frozen = co_await freeze(outcome);
        vm.record_.snapshot_work->thaw = snapshot.frozen;
    }
    if (!running->qmp) co_return qemu_has_ended();
    auto standing = stand_still(running, ran);
    NOXSUP_CO_TRY(co_await std::move(standing));
    NOXSUP_CO_TRY(co_await take_standing(snapshot, std::move(watch), ram, running));
    if (!running->qmp) co_return qemu_has_ended();
    if (ran) NOXSUP_CO_TRY(co_await vm.let_run(*running->qmp));
    if (snapshot.frozen) co_await thaw(&outcome);
    co_return Result<>();
}

boost::asio::awaitable<Result<>> Vm::Snapshots::stand_still(std::shared_ptr<Running> running,
                                                            bool ran) {
    NOXSUP_CO_TRY_VALUE(const auto status, co_await qmp::query_status(*running->qmp));
    // QEMU has closed the disks of a guest whose memory was saved; only its going on opens them.
    const bool disks_closed = status.state == qmp::RunState::postmigrate;
    if (disks_closed) NOXSUP_CO_TRY(co_await vm.let_run(*running->qmp));
    if (!ran && !disks_closed) co_return Result<>();
    vm.machine_.on_pause_requested();
    NOXSUP_CO_TRY(co_await qmp::stop(*running->qmp));
    co_return Result<>();
}

boost::asio::awaitable<Result<>> Vm::Snapshots::take_standing(state::Snapshot& snapshot,
                                                              SuspendWatch watch, bool ram,
                                                              std::shared_ptr<Running> running) {
    // Saving the memory closes the disks, so they come first.
    NOXSUP_CO_TRY(co_await qmp::snapshot_internal(*running->qmp, disk_node, snapshot.tag));
    NOXSUP_CO_TRY(co_await keep_vars(snapshot));
    if (!ram) co_return Result<>();
    if (!running->qmp) co_return qemu_has_ended();
    auto saving = vm.save_ram_to(running, ram_of(snapshot.tag), std::move(watch));
    NOXSUP_CO_TRY_VALUE(snapshot.ram, co_await std::move(saving));
    co_return Result<>();
}

boost::asio::awaitable<Result<>> Vm::Snapshots::keep_vars(state::Snapshot& snapshot) {
    const auto vars = vm.files().firmware_vars;
    if (vars.empty()) co_return Result<>();
    auto copying = copy_vars(vars, vars_of(snapshot.tag));
    NOXSUP_CO_TRY(co_await std::move(copying));
    snapshot.firmware_vars = true;
    co_return Result<>();
}

boost::asio::awaitable<bool> Vm::Snapshots::freeze(SnapshotOutcome& outcome) {
    while (vm.asking_agent_) co_await vm.condition_.wait();
    vm.asking_agent_ = true;
    auto freezing = freeze_guest(vm.environment_.executor, vm.files().agent_socket());
    const auto frozen = co_await std::move(freezing);
    vm.asking_agent_ = false;
    if (frozen) co_return true;
    outcome.notes.push_back(
        "the guest's file systems were not frozen (" + frozen.error().message +
        "), so on this disk they are as after a power cut; qemu-guest-agent in the guest freezes "
        "them, and --ram needs no freezing");
    co_return false;
}

boost::asio::awaitable<void> Vm::Snapshots::thaw(SnapshotOutcome* outcome) {
    while (vm.asking_agent_) co_await vm.condition_.wait();
    vm.asking_agent_ = true;
    auto thawing = thaw_guest(vm.environment_.executor, vm.files().agent_socket());
    const auto thawed = co_await std::move(thawing);
    vm.asking_agent_ = false;
    if (thawed) co_return;
    const auto text = "the guest's agent froze its file systems and did not thaw them (" +
                      thawed.error().message + "); where the guest hangs: noxsup reset " +
                      vm.spec().name;
    log_warning(vm.spec().name + ": " + text);
    if (outcome != nullptr) outcome->notes.push_back(text);
}

void Vm::Snapshots::measure(state::Snapshot& snapshot) const {
    snapshot.files_bytes = 0;
    if (snapshot.firmware_vars) snapshot.files_bytes += used_bytes(vars_of(snapshot.tag));
    if (snapshot.ram) snapshot.files_bytes += used_bytes(ram_of(snapshot.tag));
}

}  // namespace noxsup::vm
