// What dnsmasq is told as DHCP and DNS server of the managed NAT bridge: arguments and files, as
// text; no I/O.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "netbridge/interface_name.hpp"
#include "netbridge/mac_address.hpp"
#include "netbridge/nat/subnet.hpp"

namespace noxsup::netbridge {

/// VMs are `web` and `web.vm.internal` to each other. `internal` is reserved for private networks
/// (ICANN, 2024) and never delegated; below `vm` we hide none of the names that a company's own
/// resolver knows in `internal`.
inline constexpr std::string_view nat_domain = "vm.internal";

struct DnsmasqPlan {
    std::string program;  ///< absolute
    InterfaceName bridge;
    NatSubnet subnet;
    std::string user;                 ///< whom it becomes once it has its sockets
    std::filesystem::path directory;  ///< of the two files below; that user can read them
    std::filesystem::path leases;     ///< opened before it becomes that user
};

/// Files in DnsmasqPlan::directory, which are read again at SIGHUP.
inline constexpr std::string_view dhcp_hosts_name = "dhcp-hosts";
inline constexpr std::string_view dns_hosts_name = "dns-hosts";

/// The one argument that tells our dnsmasq from others, of this supervisor's home alone.
std::string dnsmasq_mark(const DnsmasqPlan& plan);

/// The whole command line: no configuration file, the one interface, names of guests' own choosing
/// ignored, no router advertisements; other names are asked for at the host's resolver
/// (/etc/resolv.conf, followed when it changes). It stays in the foreground and logs to stderr.
std::vector<std::string> dnsmasq_argv(const DnsmasqPlan& plan);

/// What it logs when it serves.
inline constexpr std::string_view dnsmasq_ready = "sockets bound exclusively to interface";

/// A VM on the bridge.
struct NatHost {
    std::string name;
    MacAddress mac;
    Ipv4Address address;
};

/// The file `dhcp-hosts`: which address each MAC gets.
std::string dhcp_hosts(const std::vector<NatHost>& hosts);
/// The file `dns-hosts`, as hosts(5): each VM by its name, with and without the domain.
std::string dns_hosts(const std::vector<NatHost>& hosts);

/// dnsmasq's lease file without the leases of VMs that are gone, of addresses kept for another, and
/// of another network. dnsmasq reads it when it starts, and only then.
std::string prune_leases(std::string_view leases, const std::vector<NatHost>& hosts,
                         const NatSubnet& subnet);
/// True when an address that is kept for one MAC is leased to another, so that dnsmasq would not
/// give it to whom it is kept for.
bool leases_are_in_the_way(std::string_view leases, const std::vector<NatHost>& hosts);

}  // namespace noxsup::netbridge
