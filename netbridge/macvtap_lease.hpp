// A VM's own device on a network card of the host, without a bridge: a macvtap, which is removed
// with the VM.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "netbridge/bridge_health.hpp"
#include "netbridge/kernel_network.hpp"

namespace noxsup::netbridge {

/// What a VM's macvtap shall be. Nothing checks what its guest sends: nftables does not see it.
struct MacvtapRequest {
    InterfaceName parent;  ///< the network card
    std::string id;        ///< as of a TAP: names the device
    std::string vm_uuid;   ///< goes into the alias: "noxsup:<uuid>"
    MacAddress guest_mac;
    unsigned queues = 1;
};

/// A macvtap that is up. QEMU gets the descriptors; the device outlives them, so that whoever ends
/// the VM calls forget_macvtap().
struct MacvtapLease {
    Link link;
    std::vector<UniqueFd> taps;    ///< one a queue
    std::vector<UniqueFd> vhosts;  ///< as many, or none without /dev/vhost-net
};

/// The card, when a macvtap can be put on it. Changes nothing. Errors: host_lacks_bridge (there is
/// no such device, it is a bridge, a port of one, a VM's, wireless or down), host_lacks_right; each
/// with the fix.
Result<Link> can_use_card(KernelNetwork& kernel, const InterfaceName& name,
                          const KernelViews& views = {});

/// Makes the macvtap with the guest's address, keeps IPv6 off it, opens its character device, names
/// its VM in the alias and brings it up. One of this name that nobody holds is what a crash left,
/// and makes room. Any failing step, and a cancellation, removes the device. Errors: as
/// can_use_card(); already_exists (a process holds one of that id); wrong_state when its node in
/// /dev does not come within `node_limit`; interrupted; io_error.
boost::asio::awaitable<Result<MacvtapLease>> lease_macvtap(
    KernelNetwork& kernel, MacvtapRequest request,
    std::chrono::milliseconds node_limit = std::chrono::seconds(3));

/// Removes the macvtap of a VM that has ended; fine when there is none. A device of another kind or
/// with another alias than ours stays. Errors: io_error, host_lacks_right.
Result<> forget_macvtap(KernelNetwork& kernel, const InterfaceName& name);

/// Removes what a crash left: macvtaps with our prefix and our alias that no process has open, of
/// whichever supervisor they were. Returns how many went. Errors: io_error, host_lacks_right.
Result<std::size_t> sweep_macvtaps(KernelNetwork& kernel);

}  // namespace noxsup::netbridge
