// Whether the kernel forwards IPv4 for VMs behind NAT: on the bridge, and on the devices that
// answers come back on.
#pragma once

#include <string>
#include <vector>

#include "netbridge/bridge_health.hpp"
#include "netbridge/kernel_network.hpp"

namespace noxsup::netbridge {

/// net.ipv4.ip_forward: every device forwards. False where it cannot be read.
bool forwards_everywhere(const KernelViews& views = {});

/// net.ipv4.conf.DEVICE.forwarding: what comes in on it is forwarded. False where it cannot be
/// read. (Both files are of the reader's own network namespace.)
bool forwards(const std::string& device, const KernelViews& views = {});

/// Errors: host_lacks_right, io_error.
Result<> set_forwarding(const std::string& device, bool on, const KernelViews& views = {});

/// The devices on which answers to VMs may come back: all but the bridge and loopback that an IPv4
/// route leads to. Errors: as KernelNetwork::routes().
Result<std::vector<std::string>> answering_devices(KernelNetwork& kernel,
                                                   const InterfaceName& bridge);

}  // namespace noxsup::netbridge
