#include "netbridge/nat/firewall.hpp"

#include <algorithm>

namespace noxsup::netbridge {
namespace {

bool is_iptables(const RuleChain& chain) {
    return chain.family == "ip" && chain.table == "filter" &&
           (chain.name == "FORWARD" || chain.name == "INPUT");
}

/// The command that lets VMs through one chain. What may come to them our own table tells.
std::string command_for(const FirewallChain& found, const std::string& bridge) {
    const bool forward = found.hook == "forward";
    const auto& chain = found.chain;
    if (is_iptables(chain)) {
        const std::string begin = "sudo iptables -I " + chain.name;
        if (forward)
            return begin + " -i " + bridge + " -j ACCEPT && " + begin + " -o " + bridge +
                   " -j ACCEPT";
        return begin + " -i " + bridge + " -p udp -m multiport --dports 53,67 -j ACCEPT && " +
               begin + " -i " + bridge + " -p tcp --dport 53 -j ACCEPT";
    }
    const auto begin =
        "sudo nft insert rule " + chain.family + " " + chain.table + " " + chain.name + " ";
    if (forward)
        return begin + "iifname " + bridge + " accept && " + begin + "oifname " + bridge +
               " accept";
    return begin + "iifname " + bridge + " udp dport '{ 53, 67 }' accept && " + begin + "iifname " +
           bridge + " tcp dport 53 accept";
}

}  // namespace

std::optional<BridgeProblem> judge_firewall(const std::vector<FirewallChain>& chains,
                                            const InterfaceName& bridge) {
    if (chains.empty()) return std::nullopt;
    const auto& name = bridge.str();
    std::string where;
    std::string fix;
    for (const auto& [hook, chain] : chains) {
        where += (where.empty() ? "" : "; ") + ("table " + chain.family + " " + chain.table) +
                 ", chain " + chain.name;
        if (chain.table == "firewalld") {
            fix = "sudo firewall-cmd --permanent --zone=trusted --add-interface=" + name +
                  " && sudo firewall-cmd --reload";
        }
    }
    for (const auto& chain : chains) {
        if (chain.chain.table != "firewalld")
            fix += (fix.empty() ? "" : " && ") + command_for(chain, name);
    }
    const auto has = [&](const char* hook) {
        return std::ranges::any_of(chains,
                                   [&](const FirewallChain& chain) { return chain.hook == hook; });
    };
    const std::string what = has("input") && has("forward") ? "asks this host or sends further"
                             : has("input")                 ? "asks this host (DHCP, DNS)"
                                                            : "sends further than this host";
    return BridgeProblem{
        "nat-firewall",
        "the host's firewall (" + where + ") drops what a VM on " + name + " " + what, fix};
}

}  // namespace noxsup::netbridge
