#include "netbridge/tap_lease.hpp"

#include <algorithm>

#include "netbridge/bridge.hpp"
#include "netbridge/port_filter.hpp"
#include "supervisor/base/random.hpp"

namespace noxsup::netbridge {
namespace {

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

PortFilter filter_of(const TapRequest& request, const InterfaceName& tap) {
    PortFilter filter{tap, request.guest_mac};
    filter.check_source = request.check_source;
    filter.fixed = request.fixed;
    filter.known = request.known;
    filter.isolated = request.isolated;
    filter.rate = request.rate;
    return filter;
}

/// The rules of the TAP. @param unfiltered why there are none, where the VM can do without
Result<> put_filter(KernelNetwork& kernel, const TapRequest& request, const InterfaceName& tap,
                    std::optional<Error>& unfiltered) {
    const auto filter = filter_of(request, tap);
    if (!filter.any()) return {};
    auto put = kernel.change_rules(filter_rules(filter));
    const bool needed = request.isolated || request.rate != 0;
    if (put || needed || put.error().code == ErrorCode::host_lacks_right) return put;
    unfiltered = std::move(put).error();
    return {};
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
    if (request.vlan != 0) NOXSUP_TRY(kernel.set_port_vlan(tap, request.vlan));
    if (request.check_source) NOXSUP_TRY(kernel.guard_port(tap));
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
    if (request.vlan != 0) NOXSUP_TRY(can_use_vlan(kernel, bridge, request.vlan));
    const auto where = "put TAP " + name.str() + " on " + request.bridge.str();
    if (auto kept = keep_bridge_mac(kernel, bridge, host_side_mac(request.guest_mac)); !kept) {
        return std::move(kept.error().context(where));
    }
    TapLease lease;
    NOXSUP_TRY_VALUE(lease.taps, kernel.create_tap(name, request.queues));
    NOXSUP_TRY_VALUE(auto link, kernel.find_link(name));
    if (!link) return Error{ErrorCode::io_error, where + ": the device vanished"};
    lease.link = std::move(*link);
    // Before the guest can send a frame. Unlike the device they do not go by themselves.
    auto filtered = put_filter(kernel, request, name, lease.unfiltered);
    if (!filtered) return std::move(filtered.error().context(where));
    if (auto attached = attach(kernel, request, bridge, lease.link); !attached) {
        (void)forget_tap(kernel, name);
        return std::move(attached.error().context(where));
    }
    lease.vhosts = open_vhosts(kernel, lease.taps.size());
    return lease;
}

std::vector<UniqueFd> open_vhosts(KernelNetwork& kernel, std::size_t queues) {
    std::vector<UniqueFd> vhosts;
    while (vhosts.size() < queues) {
        auto vhost = kernel.open_vhost_net();
        if (!vhost) return {};
        vhosts.push_back(std::move(vhost));
    }
    return vhosts;
}

Result<> can_filter(KernelNetwork& kernel) {
    // No TAP of ours is ever called that: their names go on with hexadecimal digits.
    NOXSUP_TRY_VALUE(const auto tap, InterfaceName::parse("nxprobe"));
    const PortFilter filter{tap, MacAddress({0x52, 0x54, 0, 0, 0, 1})};
    return kernel.change_rules(filter_rules(filter) + filter_removal(filter_table(tap)));
}

Result<bool> restore_filter(KernelNetwork& kernel, const TapRequest& request,
                            const std::vector<IpAddress>& known,
                            const std::vector<std::string>& tables) {
    NOXSUP_TRY_VALUE(const auto tap, tap_name(request.id));
    auto filter = filter_of(request, tap);
    if (!filter.any() || std::ranges::find(tables, filter_table(tap)) != tables.end()) return false;
    filter.known = known;
    NOXSUP_TRY(kernel.change_rules(filter_rules(filter)));
    return true;
}

Result<> forget_tap(KernelNetwork& kernel, const InterfaceName& tap) {
    return kernel.change_rules(filter_removal(filter_table(tap)));
}

Result<std::size_t> sweep_filters(KernelNetwork& kernel) {
    NOXSUP_TRY_VALUE(const auto tables, kernel.rule_tables());
    std::size_t removed = 0;
    for (const auto& table : tables) {
        if (!table.starts_with(filter_table_prefix)) continue;
        const auto tap = InterfaceName::parse(table.substr(filter_table_prefix.size()));
        if (!tap) continue;
        NOXSUP_TRY_VALUE(const auto link, kernel.find_link(*tap));
        if (link) continue;
        NOXSUP_TRY(kernel.change_rules(filter_removal(table)));
        ++removed;
    }
    return removed;
}

}  // namespace noxsup::netbridge
