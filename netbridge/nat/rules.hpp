// The nftables rules of the managed NAT bridge, as text; no I/O.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "netbridge/interface_name.hpp"
#include "netbridge/mac_address.hpp"
#include "netbridge/nat/subnet.hpp"
#include "netbridge/publish.hpp"

namespace noxsup::netbridge {

/// The one table, of nftables' family ip.
inline constexpr std::string_view nat_table = "noxsup_nat";

/// A published port of a VM on the bridge, wherever that VM is just now.
struct NatPort {
    MacAddress mac;
    PublishSpec publish;

    bool operator==(const NatPort&) const = default;
};

/// Whether the kernel forwards a published port by itself. Of 127.0.0.0/8 it does not: what is sent
/// there never leaves loopback (net.ipv4.conf.all.route_localnet, which is nobody's to switch on).
bool is_forwarded(const PublishSpec& publish);

/// A published port of the host that leads to a VM on the bridge.
struct NatForward {
    PublishSpec publish;  ///< bind address 0.0.0.0: every address of the host but loopback
    Ipv4Address guest;
};

struct NatRules {
    InterfaceName bridge;
    NatSubnet subnet;
    /// Devices that forward only because we switched it on for replies to VMs: what comes in there
    /// goes to VMs alone, so the host is no router for its neighbours.
    std::vector<std::string> guarded{};
    std::vector<NatForward> forwards{};
};

/// nft(8) commands that make the table or put it in the place of an older one:
///
/// - postrouting: what VMs send elsewhere leaves with the host's own address; a VM that reaches a
///   published port of the host, too, for the answer is to come back this way.
/// - prerouting, output: published ports, from elsewhere, from other VMs, and from the host itself.
///   What a VM sends to a port of its own goes to who listens there: with br_netfilter the bridge
///   would have to send it back through the port that it came in by, and drops it.
/// - forward: VMs open connections as they like, from their own network alone; to them come the
///   answers, and what a published port leads to.
/// - input: DNS and DHCP from VMs; nothing that comes in elsewhere is for the host's address on the
///   bridge, where dnsmasq listens.
///
/// An accept here is no accept in another's table: see KernelNetwork::firewall_chains().
std::string nat_rules(const NatRules& rules);

/// nft(8) commands that remove the table, if it is there.
std::string nat_removal();

}  // namespace noxsup::netbridge
