// vm.usage: what each running VM takes of the host.

#include <chrono>

#include "supervisor/control/methods.hpp"
#include "supervisor/daemon/services.hpp"
#include "supervisor/vm/usage.hpp"

namespace noxsup::daemon {
namespace {

using ReplyAwaitable = boost::asio::awaitable<Result<control::Reply>>;

struct Target {
    std::string name;
    unsigned cpus = 1;
    vm::UsageTarget target;
};

std::vector<Target> running_vms(const Services& services) {
    std::vector<Target> targets;
    for (const auto& vm : services.registry.all()) {
        const auto pid = vm->pid();
        if (!pid) continue;
        const auto& spec = vm->spec();
        auto& target = targets.emplace_back(Target{spec.name, spec.cpus, {}});
        target.target.pid = *pid;
        target.target.ram_bytes = spec.memory_bytes;
        for (const auto& network : spec.networks) {
            if (spec::has_tap(network)) target.target.devices.push_back(network.tap);
        }
    }
    return targets;
}

Json read_all(const std::vector<Target>& targets) {
    Json vms = Json::array();
    for (const auto& [name, cpus, target] : targets) {
        const auto usage = vm::read_usage(target);
        // It has ended since.
        if (!usage) continue;
        auto json = to_json(*usage);
        json["name"] = name;
        json["cpus"] = cpus;
        json["ram_bytes"] = target.ram_bytes;
        // For rates: the clock of this reading, which no other clock moves.
        const auto now = std::chrono::steady_clock::now().time_since_epoch();
        json["at_seconds"] = std::chrono::duration<double>(now).count();
        vms.push_back(std::move(json));
    }
    return vms;
}

ReplyAwaitable usage(Services& services, control::CallContext& /*call*/, Json /*params*/) {
    auto reading = run_blocking(services.environment.pool,
                                [targets = running_vms(services)] { return read_all(targets); });
    auto vms = co_await std::move(reading);
    co_return control::Reply(Json{{"vms", std::move(vms)}});
}

}  // namespace

void register_usage_api(control::Server& server, Services& services) {
    register_methods(server, services, {{control::method::vm_usage, usage}});
}

}  // namespace noxsup::daemon
