// vm.rename, vm.set and vm.autostart: what can be changed of a VM that exists.

#include <map>

#include "supervisor/daemon/resources.hpp"
#include "supervisor/daemon/vm_params.hpp"

namespace noxsup::daemon {
namespace {

using control::CallContext;
using control::Reply;
using ReplyAwaitable = boost::asio::awaitable<Result<Reply>>;

/// What is asked for, checked; and which of it only a new QEMU has.
struct Changes {
    spec::VmSpec spec;  ///< with all of them
    launch::HostFacts facts;
    std::vector<vm::Vm::Edit> edits;
    std::vector<std::string> for_next_qemu;

    void add(vm::Vm::Edit edit) {
        edit(spec);
        edits.push_back(std::move(edit));
    }
};

Result<> set_cpus(Changes& changes, const std::string& value) {
    NOXSUP_TRY_VALUE(const auto cpus, parse_host_cpus(value, changes.facts));
    changes.add([cpus](spec::VmSpec& spec) { spec.cpus = cpus; });
    changes.for_next_qemu.emplace_back("cpus");
    return check_guest_cpus(changes.spec, changes.facts);
}

Result<> set_ram(Changes& changes, const std::string& value) {
    NOXSUP_TRY_VALUE(const auto bytes, parse_host_memory(value, changes.facts));
    changes.add([bytes](spec::VmSpec& spec) { spec.memory_bytes = bytes; });
    changes.for_next_qemu.emplace_back("ram");
    if (bytes <= changes.facts.memory_total_bytes) return {};
    return Error{ErrorCode::no_memory, "ram=" + value + " is more than this host has",
                 "ask for less"};
}

Result<> set_restart(Changes& changes, const std::string& value) {
    NOXSUP_TRY_VALUE(const auto policy, spec::from_string<spec::RestartPolicy>(value));
    changes.add([policy](spec::VmSpec& spec) { spec.restart = policy; });
    return {};
}

using Setter = Result<> (*)(Changes&, const std::string&);
const std::map<std::string, Setter, std::less<>>& setters() {
    static const std::map<std::string, Setter, std::less<>> table{
        {"cpus", set_cpus}, {"ram", set_ram}, {"restart", set_restart}};
    return table;
}

std::string known_keys() {
    std::string text;
    for (const auto& [key, setter] : setters()) text += (text.empty() ? "" : ", ") + key;
    return text;
}

/// All changes or none.
Result<Changes> read_changes(const spec::VmSpec& spec, const Json& params) {
    const auto list = json_member<Json>(params, "changes");
    if (!list || !list->is_object() || list->empty()) {
        return Error{ErrorCode::invalid_argument, "what is to be set?",
                     "KEY=VALUE, with one of " + known_keys()};
    }
    Changes changes;
    changes.spec = spec;
    NOXSUP_TRY_VALUE(changes.facts, launch::read_host_facts());
    for (const auto& [key, value] : list->items()) {
        const auto setter = setters().find(key);
        if (setter == setters().end()) {
            return Error{ErrorCode::invalid_argument, "there is no setting \"" + key + "\"",
                         "one of " + known_keys()};
        }
        if (!value.is_string())
            return Error{ErrorCode::invalid_argument, key + ": its value is no text"};
        NOXSUP_TRY(setter->second(changes, value.get<std::string>()));
    }
    return changes;
}

ReplyAwaitable rename(Services& services, CallContext& /*call*/, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto name, parameter<std::string>(params, "name"));
    NOXSUP_CO_TRY_VALUE(const auto new_name, parameter<std::string>(params, "new_name"));
    NOXSUP_CO_TRY_VALUE(const auto found, services.registry.find(name));
    co_await found->settled();
    NOXSUP_CO_TRY_VALUE(const auto vm, services.registry.rename(name, new_name));
    co_return vm_reply(*vm);
}

ReplyAwaitable set(Services& services, CallContext& /*call*/, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    NOXSUP_CO_TRY_VALUE(auto changes, read_changes(vm->spec(), params));
    // Another call may change it meanwhile: only what was asked for is written over.
    vm::Vm::Edit edit = [edits = std::move(changes.edits)](spec::VmSpec& spec) {
        for (const auto& one : edits) one(spec);
    };
    NOXSUP_CO_TRY(co_await vm->change(std::move(edit), std::move(changes.for_next_qemu)));
    co_return vm_reply(*vm);
}

ReplyAwaitable autostart(Services& services, CallContext& /*call*/, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    auto rule = vm->spec().autostart;
    NOXSUP_CO_TRY_VALUE(const auto mode,
                        parameter<std::string>(params, "mode", std::string(to_string(rule.mode))));
    NOXSUP_CO_TRY_VALUE(rule.order, parameter<std::uint32_t>(params, "order", rule.order));
    NOXSUP_CO_TRY_VALUE(rule.delay_seconds,
                        parameter<std::uint32_t>(params, "delay_seconds", rule.delay_seconds));
    NOXSUP_CO_TRY_VALUE(rule.mode, spec::from_string<spec::Autostart>(mode));
    if (rule == vm->spec().autostart) co_return vm_reply(*vm);
    vm::Vm::Edit edit = [rule](spec::VmSpec& spec) { spec.autostart = rule; };
    std::vector<std::string> nothing_for_next_qemu;
    NOXSUP_CO_TRY(co_await vm->change(std::move(edit), std::move(nothing_for_next_qemu)));
    co_return vm_reply(*vm);
}

}  // namespace

void register_vm_settings_api(control::Server& server, Services& services) {
    register_methods(server, services,
                     {{control::method::vm_rename, rename},
                      {control::method::vm_set, set},
                      {control::method::vm_autostart, autostart}});
}

}  // namespace noxsup::daemon
