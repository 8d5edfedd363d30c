// A VM's port on a bridge: a TAP device that lives exactly as long as someone holds its descriptor.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netbridge/kernel_network.hpp"

namespace noxsup::netbridge {

/// What the name of every TAP and macvtap of ours begins with; the VM's stored id follows.
inline constexpr std::string_view tap_prefix = "nx";

/// What the alias of every one of them begins with; the VM's uuid follows.
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
    unsigned queues = 1;             ///< one a CPU of the guest lets each send on its own
    bool check_source = true;        ///< see PortFilter
    std::vector<IpAddress> fixed{};  ///< see PortFilter
    std::vector<IpAddress> known{};  ///< see PortFilter
    bool isolated = false;           ///< see PortFilter
    std::uint64_t rate = 0;          ///< see PortFilter
    std::uint16_t vlan = 0;          ///< the one the port is in; 0: as the bridge has it
};

/// A TAP that is a port of its bridge and up. Pass the descriptors to QEMU and drop this: the
/// device goes with its last holder, so a kill -9 leaves nothing.
struct TapLease {
    Link link;                     ///< as made: index, name, host-side MAC, MTU, bridge as master
    std::vector<UniqueFd> taps;    ///< one a queue: `-netdev tap,fd=N` or `fds=N:M`
    std::vector<UniqueFd> vhosts;  ///< as many: `vhost=on,vhostfd=N`; none without /dev/vhost-net
    std::optional<Error> unfiltered;  ///< why the source of its frames is not checked
};

/// Makes the TAP, names its VM in the alias, takes the bridge's MTU, keeps IPv6 off it, filters
/// what the guest may send, makes it a port of the bridge and brings it up. A bridge whose MAC
/// would follow its ports gets its present one fixed, so it stays as VMs come and go. Where the
/// kernel cannot filter, the lease says so; a VM that is to be isolated is not let on the bridge
/// then. Any failing step releases all that was made. Errors: host_lacks_bridge, host_lacks_right,
/// host_lacks_tool, already_exists (a TAP of that id is held by someone), io_error naming device
/// and step.
Result<TapLease> lease_tap(KernelNetwork& kernel, const TapRequest& request);

/// One /dev/vhost-net descriptor a queue; none where the host has not got it.
std::vector<UniqueFd> open_vhosts(KernelNetwork& kernel, std::size_t queues);

/// Whether the kernel takes the rules of port_filter.hpp: they are made and removed in one
/// transaction, so that no frame meets them. Errors: as KernelNetwork::change_rules().
Result<> can_filter(KernelNetwork& kernel);

/// Puts the rules of a TAP that is there back when their table is not among `tables`, with the
/// addresses that the guest is known to have. Returns whether it did. Errors: as
/// KernelNetwork::change_rules().
Result<bool> restore_filter(KernelNetwork& kernel, const TapRequest& request,
                            const std::vector<IpAddress>& known,
                            const std::vector<std::string>& tables);

/// Removes the rules of a TAP that is gone. Errors: as KernelNetwork::change_rules().
Result<> forget_tap(KernelNetwork& kernel, const InterfaceName& tap);

/// Removes the rules of all TAPs that are gone: what a supervisor that died left. Those of a TAP
/// that is there, of whichever supervisor, stay. Returns how many tables went. Errors: as
/// KernelNetwork::rule_tables().
Result<std::size_t> sweep_filters(KernelNetwork& kernel);

}  // namespace noxsup::netbridge
