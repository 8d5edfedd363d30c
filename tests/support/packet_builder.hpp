// Ethernet frames for tests: DHCP in both directions and ARP, field by field.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "netbridge/ip_address.hpp"
#include "netbridge/mac_address.hpp"

namespace noxsup::test {

using Bytes = std::vector<std::uint8_t>;

/// An option's bytes: code, length, value.
Bytes dhcp_option(std::uint8_t code, const Bytes& value);
/// An address as an option's value.
Bytes address_bytes(const std::string& text);

/// A BOOTP message in UDP in IPv4 in Ethernet.
struct DhcpFrame {
    netbridge::MacAddress source;
    netbridge::MacAddress destination{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
    netbridge::MacAddress client;
    bool from_server = true;  ///< ports 67 to 68 and op 2, else the other way round
    std::uint32_t transaction = 0x12345678;
    std::string your_address = "0.0.0.0";
    Bytes options;               ///< without the end mark, which is added
    Bytes file;                  ///< contents of the `file` field, up to 128 bytes
    Bytes sname;                 ///< contents of the `sname` field, up to 64 bytes
    std::size_t ip_options = 0;  ///< bytes of IPv4 options (a multiple of 4)

    [[nodiscard]] Bytes build() const;
};

/// An ACK as a small router sends it: mask /24, router .1, one hour.
DhcpFrame dhcp_ack(const netbridge::MacAddress& client, const std::string& address);

/// An ARP packet; `operation` 1 is a request, 2 a reply.
Bytes arp_frame(const netbridge::MacAddress& sender, const std::string& sender_ip,
                const std::string& target_ip, std::uint16_t operation = 1);

/// Any Ethernet II frame, padded to the shortest there is.
Bytes ethernet_frame(const netbridge::MacAddress& sender, const Bytes& destination,
                     std::uint16_t type, const Bytes& payload);

/// A UDP datagram to everyone. Unpadded as it is, no kernel trims it.
Bytes udp_frame(const netbridge::MacAddress& sender, const std::string& from, const std::string& to,
                std::uint16_t from_port, std::uint16_t to_port, std::size_t payload = 18);

/// An ICMPv6 message of this type to all nodes; 134 is a router advertisement, 135 and 136 a
/// neighbour's solicitation and advertisement of `target`.
Bytes icmpv6_frame(const netbridge::MacAddress& sender, std::uint8_t type,
                   const std::string& from = "fe80::1", const std::string& target = "fe80::1");

}  // namespace noxsup::test
