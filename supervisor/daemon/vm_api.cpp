// The vm.* methods but create: thin, they check parameters and call the VM.

#include <fcntl.h>

#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/daemon/create.hpp"
#include "supervisor/daemon/vm_deletion.hpp"
#include "supervisor/daemon/vm_params.hpp"

namespace noxsup::daemon {
namespace {

using control::CallContext;
using control::Reply;
using ReplyAwaitable = boost::asio::awaitable<Result<Reply>>;
using VmPointer = std::shared_ptr<vm::Vm>;

constexpr std::chrono::seconds kvm_timeout{300};
constexpr std::chrono::seconds tcg_timeout{900};

/// What the caller waits for and until when.
struct WaitParams {
    std::optional<vm::WaitFor> goal;
    vm::Deadline deadline;
};

Result<WaitParams> wait_of(const Json& params, std::string_view key, const vm::Vm& vm) {
    NOXSUP_TRY_VALUE(const auto word, parameter<std::string>(params, key, ""));
    NOXSUP_TRY_VALUE(const auto seconds, parameter<std::uint32_t>(params, "timeout_seconds", 0));
    WaitParams wait;
    const auto standard = vm.spec().accel == spec::Accel::tcg ? tcg_timeout : kvm_timeout;
    wait.deadline = std::chrono::steady_clock::now() +
                    (seconds != 0 ? std::chrono::seconds(seconds) : standard);
    if (!word.empty()) {
        NOXSUP_TRY_VALUE(wait.goal, vm::wait_for_from_string(word));
    }
    return wait;
}

Result<vm::StopLimits> limits_of(const Json& params) {
    vm::StopLimits limits;
    const auto seconds = json_member_or<double>(params, "timeout_seconds", 120.0);
    if (!seconds || *seconds < 0 || *seconds > 86'400) {
        return Error{ErrorCode::invalid_argument, "--timeout is out of range", "0 to 24h"};
    }
    limits.button = std::chrono::milliseconds(static_cast<std::int64_t>(*seconds * 1000));
    return limits;
}

/// With a descriptor of its own for the caller.
Reply reply_with(UniqueFd fd) {
    std::vector<UniqueFd> fds;
    fds.push_back(std::move(fd));
    return {Json::object(), std::move(fds)};
}

ReplyAwaitable status(Services& services, CallContext& /*call*/, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto name, parameter<std::string>(params, "name"));
    // Asking for one VM is a reason to ask its QEMU; `list` never does.
    if (const auto vm = services.registry.find(name)) co_await (*vm)->refresh();
    NOXSUP_CO_TRY_VALUE(auto json, services.registry.status(name));
    co_return Reply(Json{{"vm", std::move(json)}});
}

ReplyAwaitable list(Services& services, CallContext& /*call*/, Json /*params*/) {
    co_return Reply(Json{{"vms", services.registry.list()}});
}

/// start and the second half of restart.
boost::asio::awaitable<Result<>> start_and_wait(CallContext& call, VmPointer vm, WaitParams wait,
                                                vm::Vm::First first = vm::Vm::First::run) {
    auto stages = stages_of(call);
    NOXSUP_CO_TRY(co_await vm->start(stages, first));
    if (wait.goal) NOXSUP_CO_TRY(co_await vm->wait(*wait.goal, wait.deadline, stages));
    stages.end();
    vm->remember_stages(stages.to_json());
    co_return Result<>();
}

Result<> may_start(const Services& services) {
    if (!services.keeper.is_suspended()) return {};
    return Error{ErrorCode::wrong_state, "nothing is started while all VMs are being stopped",
                 "wait until that has ended"};
}

ReplyAwaitable start(Services& services, CallContext& call, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    NOXSUP_CO_TRY_VALUE(const auto wait, wait_of(params, "wait", *vm));
    NOXSUP_CO_TRY_VALUE(const auto paused, parameter(params, "paused", false));
    if (paused && wait.goal) {
        co_return Error{ErrorCode::invalid_argument, "a guest that stands still reaches nothing",
                        "start it paused, or wait for it"};
    }
    NOXSUP_CO_TRY(may_start(services));
    services.keeper.withdraw(*vm);
    if (vm->state() == lifecycle::State::running && !wait.goal && !paused) co_return vm_reply(*vm);
    NOXSUP_CO_TRY_VALUE(const auto cold, parameter(params, "cold", false));
    if (cold) NOXSUP_CO_TRY(vm->discard_ram());
    const auto first = paused ? vm::Vm::First::stand : vm::Vm::First::run;
    NOXSUP_CO_TRY(co_await start_and_wait(call, vm, wait, first));
    co_return vm_reply(*vm);
}

/// What takes a name and nothing more: pause, resume, reset.
template <boost::asio::awaitable<Result<>> (vm::Vm::*act)()>
ReplyAwaitable carry_out(Services& services, CallContext& /*call*/, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    NOXSUP_CO_TRY(co_await ((*vm).*act)());
    co_return vm_reply(*vm);
}

ReplyAwaitable suspend(Services& services, CallContext& call, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    vm::Vm::SuspendWatch watch;
    watch.progress = [&call](std::uint64_t done, std::uint64_t total) {
        call.progress("memory", done, total, "bytes");
    };
    watch.cancelled = [&call] { return call.cancelled(); };
    NOXSUP_CO_TRY(co_await vm->suspend(std::move(watch)));
    co_return vm_reply(*vm);
}

ReplyAwaitable stop(Services& services, CallContext& call, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    NOXSUP_CO_TRY_VALUE(const auto force, parameter(params, "force", false));
    NOXSUP_CO_TRY_VALUE(const auto limits, limits_of(params));
    services.keeper.withdraw(*vm);
    call.progress("stop", 0, 0, "");
    NOXSUP_CO_TRY_VALUE(const auto method, co_await vm->stop(force, limits));
    co_return Reply(Json{{"vm", vm->to_json()}, {"how", to_string(method)}});
}

ReplyAwaitable restart(Services& services, CallContext& call, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    NOXSUP_CO_TRY_VALUE(const auto force, parameter(params, "force", false));
    NOXSUP_CO_TRY_VALUE(const auto limits, limits_of(params));
    NOXSUP_CO_TRY(may_start(services));
    services.keeper.withdraw(*vm);
    call.progress("stop", 0, 0, "");
    NOXSUP_CO_TRY_VALUE(const auto method, co_await vm->stop(force, limits));
    NOXSUP_CO_TRY_VALUE(const auto wait, wait_of(params, "wait", *vm));
    NOXSUP_CO_TRY(co_await start_and_wait(call, vm, wait));
    co_return Reply(Json{{"vm", vm->to_json()}, {"how", to_string(method)}});
}

ReplyAwaitable remove(Services& services, CallContext& call, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    call.progress("delete", 0, 0, "");
    auto deleting = delete_vm(services, vm);
    NOXSUP_CO_TRY(co_await std::move(deleting));
    co_return Reply();
}

ReplyAwaitable wait(Services& services, CallContext& call, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    NOXSUP_CO_TRY_VALUE(const auto wait, wait_of(params, "for", *vm));
    if (!wait.goal)
        co_return Error{ErrorCode::invalid_argument, "wait for what?",
                        "--for running, ip, ssh, ..."};
    auto stages = stages_of(call);
    NOXSUP_CO_TRY(co_await vm->wait(*wait.goal, wait.deadline, stages));
    co_return vm_reply(*vm);
}

ReplyAwaitable console(Services& services, CallContext& /*call*/, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    co_await vm->settled();
    NOXSUP_CO_TRY_VALUE(auto socket, vm->attach_console());
    co_return reply_with(std::move(socket));
}

ReplyAwaitable log_file(Services& services, CallContext& /*call*/, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    const auto which = json_member_or<std::string>(params, "log", "console");
    if (!which || (*which != "console" && *which != "qemu")) {
        co_return Error{ErrorCode::invalid_argument, "no such log", "one of console, qemu"};
    }
    // O_CREAT: a VM that never started has an empty log, not an error.
    auto file = open_file(vm->directory() / (*which + ".log"), O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (!file) co_return std::move(file).error();
    NOXSUP_CO_TRY_VALUE(auto reader,
                        open_file("/proc/self/fd/" + std::to_string(file->get()), O_RDONLY));
    co_return reply_with(std::move(reader));
}

ReplyAwaitable ssh(Services& services, CallContext& /*call*/, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    co_await vm->settled();
    NOXSUP_CO_TRY_VALUE(const auto target, vm->ssh_target());
    constexpr std::size_t max_pin_bytes = 16384;
    NOXSUP_CO_TRY_VALUE(const auto pin, read_file(target.known_hosts, max_pin_bytes));
    const auto key = pin.substr(std::min(pin.find(' '), pin.size()));
    co_return Reply(Json{{"user", target.user},
                         {"host", target.host},
                         {"port", target.port},
                         {"host_key_alias", target.host_key_alias},
                         {"host_key", std::string(trim(key))},
                         {"identity_path", target.identity.string()},
                         {"known_hosts_path", target.known_hosts.string()}});
}

}  // namespace

void register_vm_api(control::Server& server, Services& services) {
    register_methods(server, services,
                     {{control::method::vm_list, list},
                      {control::method::vm_status, status},
                      {control::method::vm_start, start},
                      {control::method::vm_stop, stop},
                      {control::method::vm_pause, carry_out<&vm::Vm::pause>},
                      {control::method::vm_resume, carry_out<&vm::Vm::resume>},
                      {control::method::vm_suspend, suspend},
                      {control::method::vm_restart, restart},
                      {control::method::vm_reset, carry_out<&vm::Vm::reset>},
                      {control::method::vm_delete, remove},
                      {control::method::vm_wait, wait},
                      {control::method::vm_console, console},
                      {control::method::vm_log, log_file},
                      {control::method::vm_ssh, ssh}});
}

}  // namespace noxsup::daemon
