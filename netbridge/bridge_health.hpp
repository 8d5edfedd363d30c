// What on a host keeps the traffic of VMs on a bridge from passing, and what to do about it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "netbridge/kernel_network.hpp"

namespace noxsup::netbridge {

/// What can be read of a bridge.
struct BridgeFacts {
    std::string name;
    bool has_card = false;  ///< some port of it is neither a VM's nor another virtual one's
    bool spanning_tree = false;
    double forward_delay_seconds = 0;
    bool meets_ip_rules = false;  ///< br_netfilter hands bridged IPv4 to the host's forward rules
    std::vector<RuleChain> dropping;  ///< of KernelNetwork::dropping_forward_chains()
};

/// One thing that is wrong, with the command that mends it.
struct BridgeProblem {
    std::string id;  ///< stable: "bridge-firewall", "bridge-stp", "bridge-card"
    std::string text;
    std::string fix;
    bool can_mend = false;  ///< mend_bridge() can do something safe about it

    bool operator==(const BridgeProblem&) const = default;
};

/// Where the kernel's view of the network is read.
struct KernelViews {
    std::filesystem::path sys = "/sys";
    std::filesystem::path proc = "/proc";
};

/// Reads the facts; what cannot be read is as if it were not there. A process can be in another
/// network namespace than the one its /sys shows: that of a device with another index is not
/// believed.
BridgeFacts read_bridge_facts(KernelNetwork& kernel, const Link& bridge,
                              const KernelViews& views = {});

/// What the facts mean for VMs.
std::vector<BridgeProblem> judge_bridge(const BridgeFacts& facts);

/// Does what is safe about a problem, until the next boot or the firewall's next reload: lets pass
/// what stays on this bridge, or shortens the wait of its ports; nothing is switched off. Returns
/// what was done. Errors: host_lacks_right, host_lacks_tool, io_error; invalid_argument for a
/// problem without can_mend.
Result<std::string> mend_bridge(KernelNetwork& kernel, const BridgeFacts& facts,
                                const BridgeProblem& problem, const KernelViews& views = {});

/// Whether the device is a wireless one, which no bridge takes as a port.
bool is_wireless(const std::string& device, const KernelViews& views = {});

}  // namespace noxsup::netbridge
