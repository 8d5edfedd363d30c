// doctor's lines about the managed NAT network.

#include "netbridge/nat/firewall.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/daemon/doctor.hpp"

namespace noxsup::daemon {
namespace {

std::string shown(const NatService::Status& status) {
    if (!status.up) return "VMs can be put behind NAT (--network nat); nothing of it is there now";
    std::string text = "noxbr0 is " + status.subnet + ", dnsmasq is pid " +
                       std::to_string(status.dnsmasq.value_or(0));
    if (!status.forwarding.empty()) {
        text += "; forwarding is on for " + join(status.forwarding, ", ") +
                " as long as a VM needs it, and the host is no router for others";
    }
    return text;
}

}  // namespace

std::vector<Check> check_nat(Services& services) {
    std::vector<Check> checks;
    const auto usable = services.nat.available();
    if (!usable) {
        const auto error = usable.error();
        checks.push_back(from_result("nat", "", &error, CheckStatus::warning));
        return checks;
    }
    checks.push_back(from_result("nat", shown(services.nat.status()), nullptr, CheckStatus::ok));
    const auto name = netbridge::InterfaceName::parse(netbridge::nat_bridge_name);
    const auto chains = services.kernel->firewall_chains(*name);
    if (!chains) return checks;
    if (const auto problem = netbridge::judge_firewall(*chains, *name))
        checks.push_back({problem->id, CheckStatus::warning, problem->text, problem->fix, {}});
    return checks;
}

}  // namespace noxsup::daemon
