// What the host's own firewall does to VMs behind NAT, and how to let them pass; no I/O.
#pragma once

#include <optional>
#include <vector>

#include "netbridge/bridge_health.hpp"
#include "netbridge/kernel_network.hpp"

namespace noxsup::netbridge {

/// The one problem that the chains are together, if any: an accept in our own table does not
/// override another's drop. The fix is firewalld's, iptables' or nft's own command.
std::optional<BridgeProblem> judge_firewall(const std::vector<FirewallChain>& chains,
                                            const InterfaceName& bridge);

}  // namespace noxsup::netbridge
