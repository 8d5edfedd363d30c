// DHCP replies, ARP and neighbour discovery read from raw Ethernet frames, bounds-checked and
// without I/O.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "netbridge/ip_address.hpp"
#include "netbridge/mac_address.hpp"

namespace noxsup::netbridge {

using Frame = std::span<const std::uint8_t>;

/// What a DHCP server granted a client or took from it.
struct DhcpReply {
    enum class Kind { ack, nak };
    Kind kind = Kind::ack;
    Ipv4Address address;                        ///< yiaddr; unspecified in a NAK
    std::optional<unsigned> prefix_length;      ///< option 1
    std::optional<Ipv4Address> router;          ///< option 3, the first
    std::optional<std::chrono::seconds> lease;  ///< option 51; nothing when infinite or not told
};

/// A DHCPACK or DHCPNAK to `client` in an untagged Ethernet II frame (RFC 2131; options RFC 2132,
/// also in `file` and `sname` when overloaded). Nothing for anything else: other messages, other
/// clients, fragments, truncated or malformed packets, addresses that no host can have.
std::optional<DhcpReply> parse_dhcp_reply(Frame frame, const MacAddress& client);

/// The server (option 54) that offers `client` an address in a DHCPOFFER (RFC 2131, 4.3.1). Nothing
/// for anything else, as parse_dhcp_reply().
std::optional<Ipv4Address> parse_dhcp_offer(Frame frame, const MacAddress& client);

/// ARP for IPv4 over Ethernet (RFC 826).
struct ArpPacket {
    static constexpr std::uint16_t request = 1;
    static constexpr std::uint16_t reply = 2;
    std::uint16_t operation = 0;
    MacAddress sender_mac;
    Ipv4Address sender;
    Ipv4Address target;
};

/// Nothing for a frame that is none, or truncated.
std::optional<ArpPacket> parse_arp(Frame frame);

/// The IPv4 address that `sender` claims for itself by an ARP request or a gratuitous ARP (RFC 826,
/// RFC 5227). Nothing for probes (no address yet), for plain replies (they may be proxy ARP) and
/// for anything malformed or of another sender.
std::optional<Ipv4Address> parse_arp_claim(Frame frame, const MacAddress& sender);

/// The IPv6 address that `sender` speaks for by neighbour discovery (RFC 4861): the source of its
/// solicitations, the target of its advertisements. Nothing for probes (no address yet), link-local
/// addresses, and anything malformed, off-link or of another sender.
std::optional<Ipv6Address> parse_ndp_claim(Frame frame, const MacAddress& sender);

}  // namespace noxsup::netbridge
