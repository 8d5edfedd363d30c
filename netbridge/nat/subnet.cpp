#include "netbridge/nat/subnet.hpp"

#include <algorithm>
#include <array>

namespace noxsup::netbridge {
namespace {

Ipv4Address ip(std::uint8_t a, std::uint8_t b, std::uint8_t c) {
    return Ipv4Address(Ipv4Address::bytes_type{a, b, c, 0});
}

const IpCidr* first_overlap(const NatSubnet& subnet, const std::vector<IpCidr>& in_use) {
    const auto found = std::ranges::find_if(
        in_use, [&](const IpCidr& used) { return overlaps(subnet.gateway_cidr(), used); });
    return found == in_use.end() ? nullptr : &*found;
}

bool is_private(const IpAddress& address) {
    const std::array ranges{IpCidr{ip(10, 0, 0), 8}, IpCidr{ip(172, 16, 0), 12},
                            IpCidr{ip(192, 168, 0), 16}};
    return std::ranges::any_of(ranges,
                               [&](const IpCidr& range) { return range.contains(address); });
}

}  // namespace

Result<NatSubnet> NatSubnet::parse(std::string_view text) {
    const auto slash = text.find('/');
    const auto address = parse_ip(text.substr(0, slash));
    if (address && address->is_v4() && is_private(*address)) {
        const NatSubnet subnet(address->to_v4());
        if (subnet.to_string() == text) return subnet;
    }
    return Error{ErrorCode::invalid_argument,
                 "\"" + std::string(text) + "\" is no private network with 24 bits"};
}

bool NatSubnet::contains(const IpAddress& address) const {
    return gateway_cidr().contains(address);
}

std::string NatSubnet::to_string() const {
    return network_.to_string() + "/" + std::to_string(prefix_length);
}

std::span<const NatSubnet> nat_candidates() {
    static const std::array candidates{NatSubnet(ip(10, 213, 77)),   NatSubnet(ip(10, 141, 77)),
                                       NatSubnet(ip(10, 57, 177)),   NatSubnet(ip(192, 168, 213)),
                                       NatSubnet(ip(192, 168, 177)), NatSubnet(ip(172, 27, 213)),
                                       NatSubnet(ip(172, 22, 177))};
    return candidates;
}

bool overlaps(const IpCidr& a, const IpCidr& b) {
    return a.prefix_length <= b.prefix_length ? a.contains(b.address) : b.contains(a.address);
}

Result<SubnetChoice> choose_nat_subnet(const std::optional<NatSubnet>& before,
                                       const std::vector<IpCidr>& in_use) {
    std::string moved;
    if (before) {
        const auto* other = first_overlap(*before, in_use);
        if (other == nullptr) return SubnetChoice{*before, {}};
        moved =
            "this host has " + other->to_string() + " now, which overlaps " + before->to_string();
    }
    for (const auto& candidate : nat_candidates()) {
        if (first_overlap(candidate, in_use) == nullptr) return SubnetChoice{candidate, moved};
    }
    std::string tried;
    for (const auto& candidate : nat_candidates()) {
        const auto* other = first_overlap(candidate, in_use);
        tried += (tried.empty() ? "" : ", ") + candidate.to_string() + " (overlaps " +
                 other->to_string() + ")";
    }
    return Error{ErrorCode::address_taken, "no private network is free for NAT: " + tried,
                 "remove a route that is too wide (ip route), or use --network user"};
}

}  // namespace noxsup::netbridge
