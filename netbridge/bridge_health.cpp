#include "netbridge/bridge_health.hpp"

#include <fcntl.h>

#include <algorithm>

#include "netbridge/tap_lease.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::netbridge {
namespace {

/// The text of a small kernel file without its newline; empty when it cannot be read.
std::string kernel_text(const std::filesystem::path& path) {
    constexpr std::size_t limit = 4096;
    const auto text = read_file(path, limit);
    return text ? std::string(trim(*text)) : std::string();
}

bool is_on(const std::filesystem::path& path) {
    return kernel_text(path) == "1";
}

/// The device's directory in sysfs, if that is of this network namespace; else an empty path.
std::filesystem::path sysfs_of(const Link& link, const KernelViews& views) {
    auto directory = views.sys / "class/net" / link.name;
    if (kernel_text(directory / "ifindex") != std::to_string(link.index)) return {};
    return directory;
}

std::string shown(const RuleChain& chain) {
    return "table " + chain.family + " " + chain.table + ", chain " + chain.name;
}

/// A number of hundredths of a second (USER_HZ, as the bridge's files have it).
double seconds_of(const std::string& text) {
    constexpr double user_hz = 100;
    unsigned long value = 0;
    for (const char c : text) {
        if (c < '0' || c > '9' || value > 1'000'000) return 0;
        value = value * 10 + static_cast<unsigned long>(c - '0');
    }
    return static_cast<double>(value) / user_hz;
}

}  // namespace

BridgeFacts read_bridge_facts(KernelNetwork& kernel, const Link& bridge, const KernelViews& views) {
    BridgeFacts facts;
    facts.name = bridge.name;
    if (const auto links = kernel.links()) {
        facts.has_card = std::ranges::any_of(*links, [&](const Link& link) {
            return link.master == bridge.index && !link.alias.starts_with(tap_alias_prefix) &&
                   link.kind != "tun";
        });
    }
    const auto directory = sysfs_of(bridge, views);
    if (!directory.empty()) {
        const auto stp = kernel_text(directory / "bridge/stp_state");
        facts.spanning_tree = !stp.empty() && stp != "0";
        facts.forward_delay_seconds = seconds_of(kernel_text(directory / "bridge/forward_delay"));
        facts.meets_ip_rules = is_on(directory / "bridge/nf_call_iptables");
    }
    // This one is of the reader's own namespace.
    facts.meets_ip_rules |= is_on(views.proc / "sys/net/bridge/bridge-nf-call-iptables");
    if (auto chains = kernel.dropping_forward_chains()) facts.dropping = std::move(*chains);
    return facts;
}

std::vector<BridgeProblem> judge_bridge(const BridgeFacts& facts) {
    std::vector<BridgeProblem> problems;
    if (facts.meets_ip_rules && !facts.dropping.empty()) {
        problems.push_back(
            {"bridge-firewall",
             "the host's firewall (" + shown(facts.dropping.front()) + ") drops what passes " +
                 facts.name + ", for br_netfilter hands bridged traffic to it (as Docker has it)",
             "sudo sysctl -w net.bridge.bridge-nf-call-iptables=0 (and in /etc/sysctl.d/ for the "
             "next boot), or: sudo iptables -I FORWARD -i " +
                 facts.name + " -o " + facts.name + " -j ACCEPT",
             true});
    }
    constexpr double short_delay = 2;
    if (facts.spanning_tree && facts.forward_delay_seconds > short_delay) {
        const auto seconds = static_cast<long>(2 * facts.forward_delay_seconds);
        problems.push_back({"bridge-stp",
                            "the spanning tree protocol of " + facts.name +
                                " holds a new VM's frames back for " + std::to_string(seconds) +
                                " s, longer than some DHCP clients wait",
                            "sudo ip link set " + facts.name +
                                " type bridge stp_state 0 (where no loop can be), or "
                                "forward_delay 200",
                            true});
    }
    if (!facts.has_card) {
        problems.push_back({"bridge-card",
                            facts.name + " has no network card as a port: VMs on it reach this "
                                         "host and each other alone",
                            "sudo ip link set CARD master " + facts.name +
                                " (the card's address then belongs to the bridge)"});
    }
    return problems;
}

Result<std::string> mend_bridge(KernelNetwork& kernel, const BridgeFacts& facts,
                                const BridgeProblem& problem, const KernelViews& views) {
    if (problem.id == "bridge-firewall") {
        std::string rules;
        for (const auto& chain : facts.dropping) {
            rules += "insert rule " + chain.family + " " + chain.table + " " + chain.name +
                     " iifname \"" + facts.name + "\" oifname \"" + facts.name +
                     "\" accept comment \"noxsup\"\n";
        }
        NOXSUP_TRY(kernel.change_rules(rules));
        return "what goes from one port of " + facts.name +
               " to another passes the firewall, until it is loaded anew";
    }
    if (problem.id == "bridge-stp") {
        // 2 s is the least that the kernel takes with the protocol on; in hundredths of a second.
        const auto file = views.sys / "class/net" / facts.name / "bridge/forward_delay";
        NOXSUP_TRY_VALUE(const auto fd, open_file(file, O_WRONLY | O_TRUNC | O_NOFOLLOW));
        NOXSUP_TRY(write_all(fd.get(), "200", file.string()));
        return "the ports of " + facts.name + " wait 4 s, until the next boot";
    }
    return Error{ErrorCode::invalid_argument, problem.id + " cannot be mended from here"};
}

bool is_wireless(const std::string& device, const KernelViews& views) {
    std::error_code failure;
    const auto directory = views.sys / "class/net" / device;
    return std::filesystem::exists(directory / "phy80211", failure) ||
           std::filesystem::exists(directory / "wireless", failure);
}

}  // namespace noxsup::netbridge
