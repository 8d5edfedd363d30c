// What doctor says of the bridge.

#include "netbridge/bridge.hpp"
#include "netbridge/bridge_health.hpp"
#include "netbridge/dhcp_probe.hpp"
#include "netbridge/tap_lease.hpp"
#include "supervisor/daemon/doctor.hpp"

namespace noxsup::daemon {
namespace {

/// What a host without a usable bridge has instead, if it is on a wireless network.
std::string no_bridge_advice(netbridge::KernelNetwork& kernel) {
    const auto links = kernel.links();
    if (!links) return {};
    bool wired = false;
    std::string wireless;
    for (const auto& link : *links) {
        if (!link.kind.empty() || !link.up || link.name == "lo") continue;
        if (netbridge::is_wireless(link.name)) {
            wireless = link.name;
        } else {
            wired = true;
        }
    }
    if (wireless.empty() || wired) return {};
    return "; " + wireless + " is wireless, and a bridge cannot have it as a port";
}

Check check_filter(netbridge::KernelNetwork& kernel) {
    const auto able = netbridge::can_filter(kernel);
    if (able) {
        return from_result("port-filter", "nftables checks what VMs send on a bridge", nullptr,
                           CheckStatus::ok);
    }
    auto error = able.error();
    error.message += "; VMs on a bridge may send from any address";
    return from_result("port-filter", "", &error, CheckStatus::warning);
}

/// A bridge without one is fine for VMs with fixed addresses; who expects another is told.
boost::asio::awaitable<Check> check_dhcp(netbridge::KernelNetwork& kernel,
                                         netbridge::InterfaceName bridge) {
    auto asking = netbridge::find_dhcp_server(kernel, bridge);
    const auto server = co_await std::move(asking);
    if (!server) {
        const auto error = server.error();
        co_return from_result("bridge-dhcp", "", &error, CheckStatus::warning);
    }
    Check check;
    check.id = "bridge-dhcp";
    if (*server) {
        check.text = "the DHCP server " + (*server)->to_string() + " gives VMs on " + bridge.str() +
                     " their addresses";
        co_return check;
    }
    check.status = CheckStatus::warning;
    check.text = "no DHCP server answers on " + bridge.str() + ": VMs on it get no address";
    check.fix =
        "connect it to a network that has one, or give VMs fixed addresses: noxsup create "
        "NAME --ip 192.168.1.20/24 --gateway 192.168.1.1";
    co_return check;
}

void mend(netbridge::KernelNetwork& kernel, const netbridge::BridgeFacts& facts,
          const netbridge::BridgeProblem& problem, Check& check) {
    const auto mended = netbridge::mend_bridge(kernel, facts, problem);
    if (mended) {
        check.mended = *mended;
    } else {
        check.text += " (not mended: " + mended.error().message + ")";
    }
}

}  // namespace

boost::asio::awaitable<std::vector<Check>> check_bridge(Services& services, Mend wanted) {
    std::vector<Check> checks;
    auto& kernel = *services.kernel;
    const auto name = netbridge::InterfaceName::parse("br0");
    const auto bridge = netbridge::can_use_bridge(kernel, *name);
    if (!bridge) {
        auto error = bridge.error();
        error.message +=
            no_bridge_advice(kernel) + "; VMs get user-mode networking (ssh on a loopback port)";
        checks.push_back(from_result("bridge", "", &error, CheckStatus::warning));
        co_return checks;
    }
    checks.push_back(
        from_result("bridge", "br0 is up and VMs can be put on it", nullptr, CheckStatus::ok));
    const auto facts = netbridge::read_bridge_facts(kernel, *bridge);
    for (const auto& problem : netbridge::judge_bridge(facts)) {
        Check check{problem.id, CheckStatus::warning, problem.text, problem.fix, {}};
        if (wanted == Mend::what_is_safe && problem.can_mend) mend(kernel, facts, problem, check);
        checks.push_back(std::move(check));
    }
    checks.push_back(check_filter(kernel));
    auto asking = check_dhcp(kernel, *name);
    auto dhcp = co_await std::move(asking);
    checks.push_back(std::move(dhcp));
    co_return checks;
}

}  // namespace noxsup::daemon
