// The vm.snapshot_* methods: thin, they check parameters and call the VM.

#include "supervisor/daemon/snapshot_api.hpp"

#include "supervisor/daemon/vm_params.hpp"

namespace noxsup::daemon {
namespace {

using control::CallContext;
using control::Reply;
using ReplyAwaitable = boost::asio::awaitable<Result<Reply>>;

constexpr std::size_t max_comment_bytes = 1024;

ReplyAwaitable create(Services& services, CallContext& call, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    vm::Vm::SnapshotRequest request;
    NOXSUP_CO_TRY_VALUE(request.name, parameter<std::string>(params, "snapshot", ""));
    NOXSUP_CO_TRY_VALUE(request.comment, parameter<std::string>(params, "comment", ""));
    NOXSUP_CO_TRY_VALUE(request.ram, parameter(params, "ram", false));
    if (request.comment.size() > max_comment_bytes)
        co_return Error{ErrorCode::invalid_argument, "a comment of more than 1024 bytes"};
    if (!request.name.empty()) NOXSUP_CO_TRY(state::check_snapshot_name(request.name));
    vm::Vm::SuspendWatch watch;
    watch.progress = [&call](std::uint64_t done, std::uint64_t total) {
        call.progress("memory", done, total, "bytes");
    };
    watch.cancelled = [&call] { return call.cancelled(); };
    call.progress("snapshot", 0, 0, "");
    auto creating = vm->create_snapshot(std::move(request), std::move(watch));
    NOXSUP_CO_TRY_VALUE(const auto outcome, co_await std::move(creating));
    for (const auto& note : outcome.notes) call.note(note);
    co_return Reply(Json{{"snapshot", snapshot_json(vm->spec().name, *outcome.snapshot)}});
}

ReplyAwaitable list(Services& services, CallContext& /*call*/, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto name, parameter<std::string>(params, "name", ""));
    std::vector<std::shared_ptr<vm::Vm>> vms;
    if (name.empty()) {
        vms = services.registry.all();
    } else {
        NOXSUP_CO_TRY_VALUE(auto vm, services.registry.find(name));
        vms.push_back(std::move(vm));
    }
    auto snapshots = Json::array();
    for (const auto& vm : vms) {
        for (const auto& snapshot : vm->snapshots())
            snapshots.push_back(snapshot_json(vm->spec().name, snapshot));
    }
    co_return Reply(Json{{"snapshots", std::move(snapshots)}});
}

ReplyAwaitable restore(Services& services, CallContext& call, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    NOXSUP_CO_TRY_VALUE(auto name, parameter<std::string>(params, "snapshot"));
    NOXSUP_CO_TRY_VALUE(const auto force, parameter(params, "force", false));
    NOXSUP_CO_TRY(state::find_snapshot(vm->snapshots(), name, vm->spec().name));
    if (force && vm->is_active()) {
        services.keeper.withdraw(*vm);
        call.progress("stop", 0, 0, "");
        const vm::StopLimits limits;
        NOXSUP_CO_TRY(co_await vm->stop(true, limits));
    }
    call.progress("restore", 0, 0, "");
    auto restoring = vm->restore_snapshot(std::move(name));
    NOXSUP_CO_TRY_VALUE(const auto outcome, co_await std::move(restoring));
    // A start that was to come would have been of the disk as it was.
    services.keeper.withdraw(*vm);
    for (const auto& note : outcome.notes) call.note(note);
    co_return Reply(Json{{"vm", vm->to_json()},
                         {"snapshot", snapshot_json(vm->spec().name, *outcome.snapshot)}});
}

ReplyAwaitable remove(Services& services, CallContext& call, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    NOXSUP_CO_TRY_VALUE(auto name, parameter<std::string>(params, "snapshot"));
    call.progress("remove", 0, 0, "");
    auto removing = vm->remove_snapshot(std::move(name));
    NOXSUP_CO_TRY(co_await std::move(removing));
    co_return Reply();
}

}  // namespace

Json snapshot_json(std::string_view vm, const state::Snapshot& snapshot) {
    return {{"vm", vm},
            {"name", snapshot.name},
            {"created_at", snapshot.created_at},
            {"state", lifecycle::to_string(snapshot.state)},
            {"ram", snapshot.ram.has_value()},
            {"consistency", state::consistency_of(snapshot)},
            {"cpus", snapshot.cpus},
            {"memory_bytes", snapshot.memory_bytes},
            {"disk",
             {{"virtual_bytes", snapshot.disk_virtual_bytes},
              {"used_bytes", snapshot.disk_used_bytes}}},
            {"size_bytes", snapshot.disk_used_bytes + snapshot.files_bytes},
            {"comment", snapshot.comment.empty() ? Json() : Json(snapshot.comment)}};
}

void register_snapshot_api(control::Server& server, Services& services) {
    register_methods(server, services,
                     {{control::method::vm_snapshot_create, create},
                      {control::method::vm_snapshot_list, list},
                      {control::method::vm_snapshot_restore, restore},
                      {control::method::vm_snapshot_remove, remove}});
}

}  // namespace noxsup::daemon
