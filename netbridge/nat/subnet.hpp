// Which private network the managed NAT bridge has; no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "netbridge/ip_address.hpp"

namespace noxsup::netbridge {

/// A private /24: .1 is the host's own address, .2 to .199 are kept for VMs, .200 to .250 are for
/// guests that no VM is known by (those that run inside VMs).
class NatSubnet {
  public:
    static constexpr unsigned prefix_length = 24;
    static constexpr std::uint8_t first_reserved = 2;
    static constexpr std::uint8_t last_reserved = 199;
    static constexpr std::uint8_t first_dynamic = 200;
    static constexpr std::uint8_t last_dynamic = 250;

    /// The network of an address.
    explicit NatSubnet(const Ipv4Address& any) : network_(any.to_uint() & ~0xffU) {}
    /// "10.213.77.0/24". Errors: invalid_argument for what is no private /24 as to_string() has it.
    static Result<NatSubnet> parse(std::string_view text);

    [[nodiscard]] Ipv4Address host(std::uint8_t last) const {
        return Ipv4Address(network_.to_uint() | last);
    }
    [[nodiscard]] Ipv4Address gateway() const { return host(1); }
    /// The host's own address on the bridge, with the prefix.
    [[nodiscard]] IpCidr gateway_cidr() const { return {gateway(), prefix_length}; }
    [[nodiscard]] bool contains(const IpAddress& address) const;
    [[nodiscard]] std::string to_string() const;

    bool operator==(const NatSubnet&) const = default;

  private:
    Ipv4Address network_;
};

/// The networks that are tried, in this order: from each of the three private ranges, beside those
/// that routers, Docker, Podman, libvirt and Kubernetes take by themselves.
std::span<const NatSubnet> nat_candidates();

/// True when the two have an address in common.
bool overlaps(const IpCidr& a, const IpCidr& b);

/// The network for the bridge, and why it is another one than before.
struct SubnetChoice {
    NatSubnet subnet;
    std::string moved;  ///< empty: it is that of before, or the first one ever
};

/// The one of before where nothing of the host overlaps it now, else the first candidate that is
/// free. @param in_use addresses and routes of the host, without those of the bridge itself.
/// Errors: address_taken when all candidates overlap something.
Result<SubnetChoice> choose_nat_subnet(const std::optional<NatSubnet>& before,
                                       const std::vector<IpCidr>& in_use);

}  // namespace noxsup::netbridge
