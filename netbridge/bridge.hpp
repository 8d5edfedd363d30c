// Whether VMs can be put on a bridge of this host, told without changing anything.
#pragma once

#include "netbridge/kernel_network.hpp"

namespace noxsup::netbridge {

/// The bridge, when it exists, is one, is up and we have the rights to add ports: what the choice
/// of a default network and `doctor` ask. Changes nothing. Errors: host_lacks_bridge (missing, no
/// bridge, down), host_lacks_right; each hint is the exact fix.
Result<Link> can_use_bridge(KernelNetwork& kernel, const InterfaceName& name);

}  // namespace noxsup::netbridge
