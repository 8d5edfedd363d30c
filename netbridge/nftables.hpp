// nftables by libnftables, in this process: commands in, one transaction out.
#pragma once

#include <string>
#include <vector>

#include "netbridge/kernel_network.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::netbridge {

/// Carries out nft(8) commands in this process's network namespace, all of them or none. Errors:
/// host_lacks_right without CAP_NET_ADMIN, host_lacks_tool where the kernel has no nf_tables for
/// bridges, failed with the library's own words.
Result<> run_nft(const std::string& commands);

/// Names of the tables of the bridge family. Errors: as run_nft.
Result<std::vector<std::string>> list_bridge_tables();

/// Names of the tables of the family ip. Errors: as run_nft.
Result<std::vector<std::string>> list_ip_tables();

/// As KernelNetwork::firewall_chains(). Errors: as run_nft.
Result<std::vector<FirewallChain>> list_firewall_chains(const std::string& bridge);

/// The base chains of the families ip and inet that hook into forward with the policy drop: "table
/// ip filter, chain FORWARD". Errors: as run_nft.
Result<std::vector<RuleChain>> list_dropping_forward_chains();

}  // namespace noxsup::netbridge
