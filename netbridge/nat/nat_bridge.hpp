// The managed NAT bridge as a device: made, found again, told from strangers' and removed.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netbridge/kernel_network.hpp"
#include "netbridge/nat/subnet.hpp"

namespace noxsup::netbridge {

/// Its name; one network namespace has one.
inline constexpr std::string_view nat_bridge_name = "noxbr0";

/// Whose bridge it is.
struct NatOwner {
    /// From what is particular to the owner: the path of the supervisor's home.
    static NatOwner of(const std::string& home);

    std::string home;
    std::string id;     ///< 16 hexadecimal digits, the same for the same home
    std::string alias;  ///< of the bridge: "noxsup-nat:" and the home
    MacAddress mac;     ///< of the bridge: guests that sleep find their gateway again
};

/// The bridge of this owner, if it is there; one that a crash left half made counts. Errors:
/// already_exists when a device of the name is another's, io_error.
Result<std::optional<Link>> find_nat_bridge(KernelNetwork& kernel, const NatOwner& owner);

/// Makes it, with the host's address, up, without IPv6; or puts right what is missing of one that
/// is there. One with another address is made anew. A step that fails leaves none, unless it was
/// there. Errors: as find_nat_bridge(); host_lacks_right.
Result<Link> make_nat_bridge(KernelNetwork& kernel, const NatOwner& owner, const NatSubnet& subnet);

/// Removes it, if it is there and the owner's. Errors: as KernelNetwork::delete_link().
Result<> remove_nat_bridge(KernelNetwork& kernel, const NatOwner& owner);

/// Whether some device is a port of it. Errors: io_error.
Result<bool> has_ports(KernelNetwork& kernel, const Link& bridge);

/// The IPv4 networks that the host has: its addresses, and routes but those that lead everywhere
/// (shorter than 8 bits). The bridge's own are not among them. Errors: io_error.
Result<std::vector<IpCidr>> host_networks(KernelNetwork& kernel, const InterfaceName& bridge);

}  // namespace noxsup::netbridge
