#include "netbridge/tap_lease.hpp"

#include <algorithm>

#include "netbridge/bridge.hpp"
#include "supervisor/base/random.hpp"

namespace noxsup::netbridge {
namespace {

constexpr std::string_view tap_prefix = "nx";

/// A bridge without an address of its own takes the lowest one of its ports, so it would change
/// when the first VM comes or the last one goes. One that carries the address of a port of its own,
/// below ours, is safe as it is.
Result<> keep_bridge_mac(KernelNetwork& kernel, const Link& bridge, const MacAddress& tap_mac) {
    if (bridge.fixed_mac) return {};
    NOXSUP_TRY_VALUE(const auto links, kernel.links());
    const bool safe = std::ranges::any_of(links, [&](const Link& port) {
        return port.master == bridge.index && port.mac == bridge.mac && port.mac < tap_mac &&
               !port.alias.starts_with(tap_alias_prefix);
    });
    if (safe) return {};
    return kernel.set_mac(bridge, bridge.mac);
}

Result<> attach(KernelNetwork& kernel, const TapRequest& request, const Link& bridge, Link& tap) {
    const auto mac = host_side_mac(request.guest_mac);
    const auto alias = std::string(tap_alias_prefix) + request.vm_uuid;
    NOXSUP_TRY(kernel.set_mac(tap, mac));
    NOXSUP_TRY(kernel.set_alias(tap, alias));
    NOXSUP_TRY(kernel.disable_ipv6(tap));
    // Before it is a port: a bridge takes on the smallest MTU of its ports.
    if (tap.mtu != bridge.mtu) NOXSUP_TRY(kernel.set_mtu(tap, bridge.mtu));
    NOXSUP_TRY(kernel.enslave(tap, bridge));
    NOXSUP_TRY(kernel.set_up(tap, true));
    tap.mac = mac;
    tap.alias = alias;
    tap.mtu = bridge.mtu;
    tap.master = bridge.index;
    tap.up = true;
    return {};
}

}  // namespace

std::string make_tap_id() {
    constexpr std::size_t bytes = 6;
    return random_hex(bytes);
}

Result<InterfaceName> tap_name(std::string_view id) {
    constexpr std::size_t shortest = 8;
    const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    if (id.size() < shortest || id.size() > InterfaceName::max_length - tap_prefix.size() ||
        !std::ranges::all_of(id, is_hex)) {
        return Error{ErrorCode::invalid_argument,
                     "a TAP's id has 8 to 13 lower-case hexadecimal digits"};
    }
    return InterfaceName::parse(std::string(tap_prefix) + std::string(id));
}

Result<TapLease> lease_tap(KernelNetwork& kernel, const TapRequest& request) {
    NOXSUP_TRY_VALUE(const auto name, tap_name(request.id));
    NOXSUP_TRY_VALUE(const auto bridge, can_use_bridge(kernel, request.bridge));
    const auto where = "put TAP " + name.str() + " on " + request.bridge.str();
    if (auto kept = keep_bridge_mac(kernel, bridge, host_side_mac(request.guest_mac)); !kept) {
        return std::move(kept.error().context(where));
    }
    TapLease lease;
    NOXSUP_TRY_VALUE(lease.tap, kernel.create_tap(name));
    NOXSUP_TRY_VALUE(auto link, kernel.find_link(name));
    if (!link) return Error{ErrorCode::io_error, where + ": the device vanished"};
    lease.link = std::move(*link);
    if (auto attached = attach(kernel, request, bridge, lease.link); !attached) {
        return std::move(attached.error().context(where));
    }
    lease.vhost = kernel.open_vhost_net();
    return lease;
}

}  // namespace noxsup::netbridge
