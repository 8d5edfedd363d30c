// What a VM's port of a bridge lets through, as nftables rules; no I/O.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "netbridge/interface_name.hpp"
#include "netbridge/ip_address.hpp"
#include "netbridge/mac_address.hpp"

namespace noxsup::netbridge {

/// What the name of every table of ours begins with; the TAP's name follows.
inline constexpr std::string_view filter_table_prefix = "noxsup_";

/// The rules of one VM's TAP.
struct PortFilter {
    InterfaceName tap;
    MacAddress guest_mac;
    /// False: the guest may send whatever it likes (a router, a bridge, nested VMs).
    bool check_source = true;
    /// Addresses that the guest was given by hand; it may not have others then.
    std::vector<IpAddress> fixed{};
    /// Leased ones that were learned before: the guest goes on, or the rules went.
    std::vector<IpAddress> known{};
    /// Nothing passes between this VM and any other VM of ours on the host.
    bool isolated = false;
    /// Bits a second, each way; 0: as fast as it goes. What comes faster is dropped, which TCP
    /// takes as the word to slow down.
    std::uint64_t rate = 0;

    /// Whether there is anything to filter.
    [[nodiscard]] bool any() const { return check_source || isolated || rate != 0; }
};

/// The table's name: "noxsup_nx3f2a9c41".
std::string filter_table(const InterfaceName& tap);

/// nft(8) commands that make the table or put it in the place of an older one. Each VM has a table
/// of its own, so that supervisors never meet in one, and a VM's rules come and go as a whole.
///
/// From the guest is dropped: another source MAC; a source IPv4 address (also in ARP) that it was
/// neither given by hand nor by a DHCP server; what only a DHCP or DHCPv6 server, an IPv6 router or
/// a bridge sends (offers, router advertisements and redirects, BPDUs and the other frames to
/// 01:80:c2:00:00:0X); RARP, VLAN tags and every protocol that is none of IPv4, IPv6 and ARP.
/// Addresses by DHCP are learned by the kernel itself from the replies on their way to the guest,
/// so a new lease counts with the first packet, also while no supervisor runs. IPv6 sources are
/// checked by their MAC alone unless one is fixed.
std::string filter_rules(const PortFilter& filter);

/// nft(8) commands that remove the table, if it is there.
std::string filter_removal(std::string_view table);

}  // namespace noxsup::netbridge
