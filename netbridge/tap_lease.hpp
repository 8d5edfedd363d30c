// A VM's port on a bridge: a TAP device that lives exactly as long as someone holds its descriptor.
#pragma once

#include <string>
#include <string_view>

#include "netbridge/kernel_network.hpp"

namespace noxsup::netbridge {

/// What the alias of every TAP of ours begins with; the VM's uuid follows.
inline constexpr std::string_view tap_alias_prefix = "noxsup:";

/// A fresh id for a TAP's name, 12 hexadecimal digits; store it with the VM.
std::string make_tap_id();

/// The TAP's name for a stored id: "nx" and the id, whole. Errors: invalid_argument when the id is
/// not 8 to 13 lower-case hexadecimal digits (names are never truncated).
Result<InterfaceName> tap_name(std::string_view id);

/// What a VM's TAP shall be.
struct TapRequest {
    InterfaceName bridge;
    std::string id;       ///< of make_tap_id()
    std::string vm_uuid;  ///< goes into the alias: "noxsup:<uuid>"
    MacAddress guest_mac;
};

/// A TAP that is a port of its bridge and up. Pass the descriptors to QEMU and drop this: the
/// device goes with its last holder, so a kill -9 leaves nothing.
struct TapLease {
    Link link;       ///< as made: index, name, host-side MAC, MTU, bridge as master
    UniqueFd tap;    ///< `-netdev tap,fd=N`
    UniqueFd vhost;  ///< `vhost=on,vhostfd=N`; empty without /dev/vhost-net
};

/// Makes the TAP, names its VM in the alias, takes the bridge's MTU, keeps IPv6 off it, makes it a
/// port of the bridge and brings it up. A bridge whose MAC would follow its ports gets its present
/// one fixed, so it stays as VMs come and go. Any failing step releases all that was made. Errors:
/// host_lacks_bridge, host_lacks_right, already_exists (a TAP of that id is held by someone),
/// io_error naming device and step.
Result<TapLease> lease_tap(KernelNetwork& kernel, const TapRequest& request);

}  // namespace noxsup::netbridge
