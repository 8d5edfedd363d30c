// Addresses and subnets that users give a VM (`--ip`, `--gateway`, `--dns`), parsed strictly.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::netbridge {

using IpAddress = boost::asio::ip::address;
using Ipv4Address = boost::asio::ip::address_v4;
using Ipv6Address = boost::asio::ip::address_v6;

/// An interface's address with its prefix length: "192.168.1.20/24".
struct IpCidr {
    IpAddress address;
    unsigned prefix_length = 0;  ///< 0 to 32 or 128

    bool operator==(const IpCidr&) const = default;
    [[nodiscard]] std::string to_string() const;
    /// True when `other` is of the same family and in this subnet.
    [[nodiscard]] bool contains(const IpAddress& other) const;
};

/// Dotted quad or RFC 4291 text without a zone ("%eth0"). Errors: invalid_argument.
Result<IpAddress> parse_ip(std::string_view text);

/// "ADDRESS/PREFIX" for a host's interface. Refused: no prefix, a prefix out of range, and
/// addresses no host has (unspecified, loopback, multicast, the subnet's own or broadcast address).
/// Errors: invalid_argument.
Result<IpCidr> parse_interface_cidr(std::string_view text);

/// True for an IPv4 address that a host's interface can have (not 0/8, 127/8, multicast or
/// reserved).
bool is_host_address(const Ipv4Address& address);

/// A VM's fixed address.
struct StaticNetwork {
    IpCidr address;
    std::optional<IpAddress> gateway;
    std::vector<IpAddress> dns;
};

/// Whether a VM can have `wanted` where the host's own addresses are `own`: in one of their subnets
/// and not one of them. Where the host has none of the family anything goes. Errors:
/// invalid_argument, address_taken.
Result<> check_in_subnet(const IpCidr& wanted, const std::vector<IpCidr>& own,
                         const std::string& bridge);

/// Checks what belongs together: gateway and DNS servers need an address, the gateway is of its
/// family, inside its subnet (IPv6: or link-local) and not the VM itself. Empty `ip` with empty
/// others is "none". Errors: invalid_argument.
Result<std::optional<StaticNetwork>> parse_static_network(std::string_view ip,
                                                          std::string_view gateway,
                                                          const std::vector<std::string>& dns);

}  // namespace noxsup::netbridge
