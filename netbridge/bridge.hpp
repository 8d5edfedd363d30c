// Whether VMs can be put on a bridge of this host, told without changing anything.
#pragma once

#include "netbridge/kernel_network.hpp"

namespace noxsup::netbridge {

/// The bridge, when it exists, is one, is up and we have the rights to add ports: what the choice
/// of a default network and `doctor` ask. Changes nothing. Errors: host_lacks_bridge (missing, no
/// bridge, down), host_lacks_right; each hint is the exact fix.
Result<Link> can_use_bridge(KernelNetwork& kernel, const InterfaceName& name);

/// Parses the number of a VLAN: 1 to max_vlan. Errors: invalid_argument.
Result<std::uint16_t> parse_vlan(std::string_view text);

/// Whether a port of the bridge can be in a VLAN of its own: the bridge keeps VLANs apart. Errors:
/// invalid_argument when there is no such VLAN; host_lacks_bridge with the fix.
Result<> can_use_vlan(KernelNetwork& kernel, const Link& bridge, unsigned vlan);

}  // namespace noxsup::netbridge
