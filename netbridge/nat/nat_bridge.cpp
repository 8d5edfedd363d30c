#include "netbridge/nat/nat_bridge.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "supervisor/base/text.hpp"

namespace noxsup::netbridge {
namespace {

/// FNV-1a, 64 bits: the same in every build, unlike std::hash.
std::uint64_t hash_of(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (const char c : text) {
        hash ^= static_cast<unsigned char>(c);
        hash *= 0x100000001b3U;
    }
    return hash;
}

Result<InterfaceName> bridge_name() {
    return InterfaceName::parse(nat_bridge_name);
}

bool has_address(const std::vector<IpCidr>& addresses, const IpCidr& wanted) {
    return std::ranges::find(addresses, wanted) != addresses.end();
}

/// All that a new bridge lacks, or one that was cut off while it was made.
Result<> complete(KernelNetwork& kernel, const Link& bridge, const NatOwner& owner,
                  const NatSubnet& subnet) {
    // First, for by this it is ours.
    if (bridge.alias != owner.alias) NOXSUP_TRY(kernel.set_alias(bridge, owner.alias));
    NOXSUP_TRY_VALUE(const auto addresses, kernel.addresses(bridge));
    if (!bridge.up) NOXSUP_TRY(kernel.disable_ipv6(bridge));
    if (!has_address(addresses, subnet.gateway_cidr()))
        NOXSUP_TRY(kernel.add_address(bridge, subnet.gateway_cidr()));
    if (!bridge.up) NOXSUP_TRY(kernel.set_up(bridge, true));
    return {};
}

}  // namespace

NatOwner NatOwner::of(const std::string& home) {
    // IFALIASZ is 256 with its NUL.
    constexpr std::size_t longest_alias = 200;
    NatOwner owner;
    owner.home = home;
    const auto hash = hash_of(home);
    std::array<std::byte, sizeof(hash)> bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = static_cast<std::byte>(hash >> (8 * i) & 0xffU);
    owner.id = to_hex(bytes);
    owner.alias = "noxsup-nat:" + (home.size() > longest_alias ? owner.id : home);
    const auto byte = [&](std::size_t i) { return std::to_integer<std::uint8_t>(bytes[i]); };
    // Locally administered, and none of the VMs', which begin with 52:54.
    owner.mac = MacAddress({0x52, 0x55, byte(0), byte(1), byte(2), byte(3)});
    return owner;
}

Result<std::optional<Link>> find_nat_bridge(KernelNetwork& kernel, const NatOwner& owner) {
    NOXSUP_TRY_VALUE(const auto name, bridge_name());
    NOXSUP_TRY_VALUE(auto found, kernel.find_link(name));
    if (!found) return std::optional<Link>{};
    const bool half_made = found->alias.empty() && found->mac == owner.mac;
    if (found->kind == "bridge" && (found->alias == owner.alias || half_made)) return found;
    constexpr std::string_view prefix = "noxsup-nat:";
    if (found->alias.starts_with(prefix)) {
        return Error{ErrorCode::already_exists,
                     name.str() + " is of another supervisor, of the home " +
                         escape_for_terminal(found->alias.substr(prefix.size())),
                     "stop its VMs on --network nat, or put this one there"};
    }
    return Error{ErrorCode::already_exists,
                 "there is a network device " + name.str() + " that noxsup did not make",
                 "ip -d link show " + name.str() + " tells what it is; remove or rename it"};
}

Result<Link> make_nat_bridge(KernelNetwork& kernel, const NatOwner& owner,
                             const NatSubnet& subnet) {
    NOXSUP_TRY_VALUE(const auto name, bridge_name());
    NOXSUP_TRY_VALUE(auto found, find_nat_bridge(kernel, owner));
    if (found) {
        NOXSUP_TRY_VALUE(const auto addresses, kernel.addresses(*found));
        const bool moves = std::ranges::any_of(addresses, [&](const IpCidr& address) {
            return address.address.is_v4() && address != subnet.gateway_cidr();
        });
        if (moves) {
            NOXSUP_TRY(kernel.delete_link(*found));
            found.reset();
        }
    }
    const bool is_new = !found;
    if (is_new) {
        NOXSUP_TRY(kernel.create_bridge(name, owner.mac));
        NOXSUP_TRY_VALUE(found, kernel.find_link(name));
        if (!found)
            return Error{ErrorCode::io_error, "make " + name.str() + ": the device vanished"};
    }
    auto completed = complete(kernel, *found, owner, subnet);
    if (!completed) {
        if (is_new) (void)kernel.delete_link(*found);
        return std::move(completed.error().context("make " + name.str()));
    }
    NOXSUP_TRY_VALUE(const auto made, kernel.find_link(name));
    if (!made) return Error{ErrorCode::io_error, "make " + name.str() + ": the device vanished"};
    return *made;
}

Result<> remove_nat_bridge(KernelNetwork& kernel, const NatOwner& owner) {
    const auto found = find_nat_bridge(kernel, owner);
    // Another's is none of ours.
    if (!found && found.error().code == ErrorCode::already_exists) return {};
    if (!found) return found.error();
    if (!*found) return {};
    return kernel.delete_link(**found);
}

Result<bool> has_ports(KernelNetwork& kernel, const Link& bridge) {
    NOXSUP_TRY_VALUE(const auto links, kernel.links());
    return std::ranges::any_of(links,
                               [&](const Link& link) { return link.master == bridge.index; });
}

Result<std::vector<IpCidr>> host_networks(KernelNetwork& kernel, const InterfaceName& bridge) {
    constexpr unsigned shortest = 8;
    NOXSUP_TRY_VALUE(const auto links, kernel.links());
    NOXSUP_TRY_VALUE(const auto routes, kernel.routes());
    std::vector<IpCidr> networks;
    int own_index = 0;
    for (const auto& link : links) {
        if (link.name == bridge.str()) {
            own_index = link.index;
            continue;
        }
        NOXSUP_TRY_VALUE(const auto addresses, kernel.addresses(link));
        for (const auto& address : addresses) {
            if (address.address.is_v4()) networks.push_back(address);
        }
    }
    for (const auto& route : routes) {
        const bool own = own_index != 0 && route.link_index == own_index;
        if (!own && route.destination.prefix_length >= shortest)
            networks.push_back(route.destination);
    }
    return networks;
}

}  // namespace noxsup::netbridge
