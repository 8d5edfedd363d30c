#include "netbridge/packets.hpp"

#include <algorithm>
#include <array>
#include <bit>

namespace noxsup::netbridge {
namespace {

//  Ethernet II            14 bytes: destination 6, source 6, type 2
//  IPv4 (RFC 791)         20 to 60: version+length 0, total length 2, fragment 6, protocol 9
//  UDP (RFC 768)           8: source port 0, destination port 2, length 4
//  BOOTP (RFC 2131, 2)   236: op 0, htype 1, hlen 2, yiaddr 16, chaddr 28, sname 44 (64), file 108
//  (128) magic cookie            4, then options: code 1, length 1, value
constexpr std::size_t ethernet_length = 14;
constexpr std::size_t ip_minimum = 20;
constexpr std::size_t udp_length = 8;
constexpr std::size_t bootp_length = 236;
constexpr std::size_t cookie_length = 4;
constexpr std::uint16_t ether_type_ipv4 = 0x0800;
constexpr std::uint16_t ether_type_arp = 0x0806;

std::uint16_t read16(Frame bytes, std::size_t at) {
    return static_cast<std::uint16_t>(bytes[at] << 8U | bytes[at + 1]);
}

std::uint32_t read32(Frame bytes, std::size_t at) {
    return std::uint32_t{read16(bytes, at)} << 16U | read16(bytes, at + 2);
}

bool has_mac(Frame bytes, std::size_t at, const MacAddress& mac) {
    return std::ranges::equal(bytes.subspan(at, mac.bytes().size()), mac.bytes());
}

/// The payload of an unfragmented IPv4/UDP packet from port 67 to port 68; empty for anything else.
Frame dhcp_server_payload(Frame frame) {
    if (frame.size() < ethernet_length + ip_minimum + udp_length) return {};
    if (read16(frame, 12) != ether_type_ipv4) return {};
    auto ip = frame.subspan(ethernet_length);
    constexpr std::uint8_t version_4 = 4;
    constexpr std::uint8_t protocol_udp = 17;
    constexpr std::uint16_t fragment_mask = 0x3fff;
    const std::size_t header = (ip[0] & 0x0fU) * std::size_t{4};
    const std::size_t total = read16(ip, 2);
    if (ip[0] >> 4U != version_4 || header < ip_minimum || total < header + udp_length) return {};
    if (total > ip.size() || ip[9] != protocol_udp || (read16(ip, 6) & fragment_mask) != 0)
        return {};
    auto udp = ip.subspan(header, total - header);
    constexpr std::uint16_t server_port = 67;
    constexpr std::uint16_t client_port = 68;
    const std::size_t length = read16(udp, 4);
    if (read16(udp, 0) != server_port || read16(udp, 2) != client_port) return {};
    if (length < udp_length || length > udp.size()) return {};
    return udp.subspan(udp_length, length - udp_length);
}

/// The options we read, collected over the options field and, when overloaded, `file` and `sname`.
struct Options {
    std::optional<std::uint8_t> message_type;
    std::optional<std::uint32_t> mask;
    std::optional<std::uint32_t> router;
    std::optional<std::uint32_t> lease;
    std::optional<std::uint32_t> server;
    std::uint8_t overload = 0;
};

void read_option(std::uint8_t code, Frame value, Options& options) {
    constexpr std::uint8_t subnet_mask = 1;
    constexpr std::uint8_t router = 3;
    constexpr std::uint8_t lease_time = 51;
    constexpr std::uint8_t overload = 52;
    constexpr std::uint8_t message_type = 53;
    constexpr std::uint8_t server_identifier = 54;
    if (code == subnet_mask && value.size() == 4) options.mask = read32(value, 0);
    if (code == router && value.size() >= 4 && value.size() % 4 == 0) {
        options.router = read32(value, 0);
    }
    if (code == lease_time && value.size() == 4) options.lease = read32(value, 0);
    if (code == overload && value.size() == 1) options.overload = value[0];
    if (code == message_type && value.size() == 1) options.message_type = value[0];
    if (code == server_identifier && value.size() == 4) options.server = read32(value, 0);
}

/// Reads options up to the end mark or the field's end. False when one runs over the field's end.
bool read_options(Frame field, Options& options) {
    constexpr std::uint8_t pad = 0;
    constexpr std::uint8_t end = 255;
    for (std::size_t at = 0; at < field.size();) {
        const auto code = field[at++];
        if (code == pad) continue;
        if (code == end) return true;
        if (at == field.size()) return false;
        const std::size_t length = field[at++];
        if (length > field.size() - at) return false;
        read_option(code, field.subspan(at, length), options);
        at += length;
    }
    return true;
}

std::optional<Options> all_options(Frame bootp) {
    Options options;
    if (!read_options(bootp.subspan(bootp_length + cookie_length), options)) return std::nullopt;
    // RFC 2132, 9.3: file first, then sname. An overload option inside them counts for nothing.
    const auto overload = options.overload;
    if ((overload & 1U) != 0 && !read_options(bootp.subspan(108, 128), options))
        return std::nullopt;
    if ((overload & 2U) != 0 && !read_options(bootp.subspan(44, 64), options)) return std::nullopt;
    return options;
}

/// The length of a contiguous, non-empty netmask.
std::optional<unsigned> prefix_of_mask(std::uint32_t mask) {
    const auto length = static_cast<unsigned>(std::countl_one(mask));
    constexpr unsigned bits = 32;
    if (length == 0 || (length < bits && mask << length != 0)) return std::nullopt;
    return length;
}

DhcpReply make_ack(const Ipv4Address& address, const Options& options) {
    DhcpReply reply;
    reply.address = address;
    if (options.mask) reply.prefix_length = prefix_of_mask(*options.mask);
    if (options.router && is_host_address(Ipv4Address(*options.router))) {
        reply.router = Ipv4Address(*options.router);
    }
    constexpr std::uint32_t infinite = 0xffffffff;
    if (options.lease && *options.lease != infinite)
        reply.lease = std::chrono::seconds(*options.lease);
    return reply;
}

/// What a server sends to `client`; nothing for anything else and anything malformed.
struct ServerMessage {
    Ipv4Address address;  ///< yiaddr
    Options options;
};

std::optional<ServerMessage> read_server_message(Frame frame, const MacAddress& client) {
    const auto bootp = dhcp_server_payload(frame);
    if (bootp.size() < bootp_length + cookie_length) return std::nullopt;
    constexpr std::uint8_t boot_reply = 2;
    constexpr std::uint8_t hardware_ethernet = 1;
    constexpr std::uint32_t magic_cookie = 0x63825363;
    if (bootp[0] != boot_reply || bootp[1] != hardware_ethernet) return std::nullopt;
    if (bootp[2] != client.bytes().size() || !has_mac(bootp, 28, client)) return std::nullopt;
    if (read32(bootp, bootp_length) != magic_cookie) return std::nullopt;
    const auto options = all_options(bootp);
    if (!options) return std::nullopt;
    return ServerMessage{Ipv4Address(read32(bootp, 16)), *options};
}

}  // namespace

std::optional<DhcpReply> parse_dhcp_reply(Frame frame, const MacAddress& client) {
    const auto message = read_server_message(frame, client);
    if (!message) return std::nullopt;
    const auto& options = message->options;
    constexpr std::uint8_t type_ack = 5;
    constexpr std::uint8_t type_nak = 6;
    if (options.message_type == type_nak) {
        DhcpReply reply;
        reply.kind = DhcpReply::Kind::nak;
        return reply;
    }
    if (options.message_type != type_ack || !is_host_address(message->address)) return std::nullopt;
    return make_ack(message->address, options);
}

std::optional<Ipv4Address> parse_dhcp_offer(Frame frame, const MacAddress& client) {
    const auto message = read_server_message(frame, client);
    constexpr std::uint8_t type_offer = 2;
    if (!message || message->options.message_type != type_offer || !message->options.server ||
        !is_host_address(message->address)) {
        return std::nullopt;
    }
    return Ipv4Address(*message->options.server);
}

std::optional<ArpPacket> parse_arp(Frame frame) {
    //  ARP after the Ethernet header: hardware 0, protocol 2, sizes 4 5, operation 6, sender 8 14,
    //  target 18 24
    constexpr std::size_t arp_length = 28;
    constexpr std::array<std::uint8_t, 6> ethernet_ipv4{0x00, 0x01, 0x08, 0x00, 0x06, 0x04};
    if (frame.size() < ethernet_length + arp_length) return std::nullopt;
    if (read16(frame, 12) != ether_type_arp) return std::nullopt;
    const auto arp = frame.subspan(ethernet_length, arp_length);
    if (!std::ranges::equal(arp.first(ethernet_ipv4.size()), ethernet_ipv4)) return std::nullopt;
    ArpPacket packet;
    packet.operation = read16(arp, 6);
    MacAddress::Bytes mac{};
    std::ranges::copy(arp.subspan(8, mac.size()), mac.begin());
    packet.sender_mac = MacAddress(mac);
    packet.sender = Ipv4Address(read32(arp, 14));
    packet.target = Ipv4Address(read32(arp, 24));
    return packet;
}

std::optional<Ipv4Address> parse_arp_claim(Frame frame, const MacAddress& sender) {
    const auto arp = parse_arp(frame);
    if (!arp || !has_mac(frame, 6, sender) || arp->sender_mac != sender) return std::nullopt;
    const bool gratuitous = arp->sender == arp->target;
    if (arp->operation != ArpPacket::request && (arp->operation != ArpPacket::reply || !gratuitous))
        return std::nullopt;
    if (!is_host_address(arp->sender)) return std::nullopt;
    return arp->sender;
}

std::optional<Ipv6Address> parse_ndp_claim(Frame frame, const MacAddress& sender) {
    //  IPv6 (RFC 8200): version 0, payload length 4, next header 6, hop limit 7, source 8,
    //  destination 24; ICMPv6 (RFC 4861, 4.3 and 4.4): type 0, code 1, target 8
    constexpr std::size_t ipv6_length = 40;
    constexpr std::size_t message_length = 24;
    if (frame.size() < ethernet_length + ipv6_length + message_length) return std::nullopt;
    constexpr std::uint16_t ether_type_ipv6 = 0x86dd;
    if (read16(frame, 12) != ether_type_ipv6 || !has_mac(frame, 6, sender)) return std::nullopt;
    const auto ip = frame.subspan(ethernet_length);
    constexpr std::uint8_t version_6 = 6;
    constexpr std::uint8_t icmpv6 = 58;
    // Less has crossed a router, which neighbour discovery never does.
    constexpr std::uint8_t on_link = 255;
    if (ip[0] >> 4U != version_6 || ip[6] != icmpv6 || ip[7] != on_link) return std::nullopt;
    if (read16(ip, 4) < message_length) return std::nullopt;
    const auto message = ip.subspan(ipv6_length);
    constexpr std::uint8_t solicitation = 135;
    constexpr std::uint8_t advertisement = 136;
    if (message[1] != 0) return std::nullopt;
    Frame claimed;
    if (message[0] == solicitation) claimed = ip.subspan(8, 16);
    if (message[0] == advertisement) claimed = message.subspan(8, 16);
    if (claimed.empty()) return std::nullopt;
    Ipv6Address::bytes_type bytes{};
    std::ranges::copy(claimed, bytes.begin());
    const Ipv6Address address(bytes);
    if (address.is_unspecified() || address.is_loopback() || address.is_multicast() ||
        address.is_link_local() || address.is_v4_mapped())
        return std::nullopt;
    return address;
}

}  // namespace noxsup::netbridge
