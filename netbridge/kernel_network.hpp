// KernelNetwork: the one narrow interface to the kernel's network devices, which tests replace.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "netbridge/interface_name.hpp"
#include "netbridge/ip_address.hpp"
#include "netbridge/mac_address.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::netbridge {

/// A network device as the kernel tells it (RTM_NEWLINK).
struct Link {
    int index = 0;
    std::string name;
    std::string
        kind;  ///< IFLA_INFO_KIND: "bridge", "tun" (TAPs too), "veth", ...; empty for hardware
    MacAddress mac;
    std::uint32_t mtu = 0;
    bool up = false;    ///< administratively
    int master = 0;     ///< index of the bridge it is a port of, or 0
    std::string alias;  ///< IFLA_IFALIAS
    /// The address was set by someone and does not follow the ports (addr_assign_type 3); false
    /// where it cannot be told.
    bool fixed_mac = false;
};

/// VLANs are numbered 1 to this one (IEEE 802.1Q).
inline constexpr unsigned max_vlan = 4094;

/// How sure the kernel is of a neighbour: heard it just now (REACHABLE, PERMANENT), some time ago
/// (STALE, DELAY, PROBE), or not at all.
enum class NeighbourState { confirmed, remembered, failed };

/// An entry of the ARP or neighbour discovery table.
struct Neighbour {
    int link_index = 0;
    IpAddress address;
    MacAddress mac;
    NeighbourState state = NeighbourState::failed;

    bool operator==(const Neighbour&) const = default;
};

/// A chain of nftables.
struct RuleChain {
    std::string family;  ///< "ip", "inet"
    std::string table;
    std::string name;

    bool operator==(const RuleChain&) const = default;
};

/// An IPv4 route of any table but those to the host itself (local, broadcast); one a next hop.
struct Route {
    IpCidr destination;  ///< 0.0.0.0/0: everywhere
    int link_index = 0;  ///< 0: leads nowhere (blackhole, unreachable)

    bool operator==(const Route&) const = default;
};

/// A base chain of a firewall that drops what no rule of its decides.
struct FirewallChain {
    std::string hook;  ///< "forward" or "input"
    RuleChain chain;

    bool operator==(const FirewallChain&) const = default;
};

/// The kernel's network devices in this process's network namespace. Every call is one request that
/// is answered at once (well under a millisecond; RTNL may be held by others for longer). Each
/// error names the device; without the right to change devices it is host_lacks_right with the fix.
class KernelNetwork {
  public:
    KernelNetwork() = default;
    KernelNetwork(const KernelNetwork&) = delete;
    KernelNetwork& operator=(const KernelNetwork&) = delete;
    virtual ~KernelNetwork() = default;

    virtual Result<std::vector<Link>> links() = 0;
    /// Nothing when there is no such device.
    virtual Result<std::optional<Link>> find_link(const InterfaceName& name) = 0;
    /// The host's own addresses on the device, IPv4 and IPv6, with their prefixes.
    virtual Result<std::vector<IpCidr>> addresses(const Link& link) = 0;
    /// The host's IPv4 routes.
    virtual Result<std::vector<Route>> routes() = 0;
    /// IPv4 and IPv6 entries of all devices, with a link-layer address.
    virtual Result<std::vector<Neighbour>> neighbours() = 0;

    /// Errors: host_lacks_right when devices cannot be changed here or /dev/net/tun cannot be
    /// opened. Changes nothing.
    virtual Result<> check_rights() = 0;

    /// Makes a TAP with IFF_NO_PI and IFF_VNET_HDR that lives as long as descriptors of it are
    /// open: one a queue. Errors: already_exists when a device has the name.
    virtual Result<std::vector<UniqueFd>> create_tap(const InterfaceName& name,
                                                     unsigned queues) = 0;
    /// A new /dev/vhost-net descriptor; an empty one when the host has none or we may not open it.
    virtual UniqueFd open_vhost_net() = 0;

    /// Makes a macvtap in bridge mode on a network card, down, with the guest's address as its own.
    /// It stays until it is removed. Errors: already_exists when a device has the name;
    /// host_lacks_tool when the kernel has no macvtap.
    virtual Result<> create_macvtap(const InterfaceName& name, const Link& parent,
                                    const MacAddress& mac) = 0;
    /// Its character device with IFF_VNET_HDR, opened once a queue. Errors: wrong_state while there
    /// is none in /dev, which may take a moment where udev makes it; host_lacks_right.
    virtual Result<std::vector<UniqueFd>> open_macvtap(const Link& link, unsigned queues) = 0;
    /// Whether some process has it open; true as well where that cannot be told.
    virtual bool is_macvtap_open(const Link& link) = 0;
    /// Fine when it is gone already.
    virtual Result<> delete_link(const Link& link) = 0;
    /// Makes a bridge with this address of its own, down. Errors: already_exists when a device has
    /// the name.
    virtual Result<> create_bridge(const InterfaceName& name, const MacAddress& mac) = 0;
    /// Gives the device an IPv4 address of the host's; one that it has already is fine.
    virtual Result<> add_address(const Link& link, const IpCidr& address) = 0;

    virtual Result<> set_mac(const Link& link, const MacAddress& mac) = 0;
    virtual Result<> set_mtu(const Link& link, std::uint32_t mtu) = 0;
    virtual Result<> set_alias(const Link& link, const std::string& alias) = 0;
    /// The device gets no IPv6 address of its own. Fine on a kernel without IPv6.
    virtual Result<> disable_ipv6(const Link& link) = 0;
    virtual Result<> enslave(const Link& link, const Link& bridge) = 0;
    /// A port that sends BPDUs is shut (IFLA_BRPORT_GUARD). @pre the device is a port of a bridge
    virtual Result<> guard_port(const Link& link) = 0;
    virtual Result<> set_up(const Link& link, bool up) = 0;

    /// Whether the bridge keeps VLANs apart (vlan_filtering). Errors: host_lacks_bridge where the
    /// kernel's bridges cannot.
    virtual Result<bool> filters_vlans(const Link& bridge) = 0;
    /// The port is in this VLAN alone, without tags: what it sends belongs to it, and it gets
    /// nothing else. @pre the device is a port of a bridge; 1 to max_vlan
    virtual Result<> set_port_vlan(const Link& port, std::uint16_t vlan) = 0;

    /// Carries out nft(8) commands, all of them or none. Errors: as run_nft().
    virtual Result<> change_rules(const std::string& commands) = 0;
    /// The names of the tables of nftables' bridge family. Errors: as run_nft().
    virtual Result<std::vector<std::string>> rule_tables() = 0;
    /// The names of the tables of nftables' family ip. Errors: as run_nft().
    virtual Result<std::vector<std::string>> ip_rule_tables() = 0;
    /// What of the host's firewall drops IPv4 that passes the bridge or comes from it to the host:
    /// chains of tables without any rule that names the bridge. Tables of ours are left out; legacy
    /// iptables is not to be seen. Errors: as run_nft().
    virtual Result<std::vector<FirewallChain>> firewall_chains(const InterfaceName& bridge) = 0;
    /// Base chains of nftables' IPv4 forward hook that drop what no rule of theirs decides;
    /// those of iptables are among them (iptables-nft) or not to be seen (legacy). Errors: as
    /// run_nft().
    virtual Result<std::vector<RuleChain>> dropping_forward_chains() = 0;
};

/// The real one, over rtnetlink; may be used from several threads. Errors: io_error.
Result<std::unique_ptr<KernelNetwork>> open_kernel_network();

}  // namespace noxsup::netbridge
