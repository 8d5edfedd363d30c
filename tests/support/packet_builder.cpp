#include "tests/support/packet_builder.hpp"

#include <algorithm>
#include <stdexcept>

namespace noxsup::test {
namespace {

using netbridge::MacAddress;

void put16(Bytes& out, std::size_t value) {
    out.push_back(static_cast<std::uint8_t>(value >> 8U & 0xffU));
    out.push_back(static_cast<std::uint8_t>(value & 0xffU));
}

void put(Bytes& out, const Bytes& bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
}

void put_mac(Bytes& out, const MacAddress& mac) {
    out.insert(out.end(), mac.bytes().begin(), mac.bytes().end());
}

void pad_to(Bytes& out, std::size_t size) {
    if (out.size() > size) throw std::logic_error("a test packet's field is too long");
    out.resize(size);
}

std::uint16_t ip_checksum(const Bytes& header) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i + 1 < header.size(); i += 2) {
        sum += static_cast<std::uint32_t>(header[i] << 8U | header[i + 1]);
    }
    while (sum > 0xffffU) sum = (sum & 0xffffU) + (sum >> 16U);
    return static_cast<std::uint16_t>(~sum);
}

Bytes ip_header(std::size_t options, std::size_t payload, const std::string& from,
                const std::string& to) {
    Bytes header{static_cast<std::uint8_t>(0x40U | (5 + options / 4)), 0};
    put16(header, 20 + options + payload);
    put(header, {0, 1, 0, 0, 64, 17, 0, 0});
    put(header, address_bytes(from));
    put(header, address_bytes(to));
    header.resize(20 + options, 1);
    const auto sum = ip_checksum(header);
    header[10] = static_cast<std::uint8_t>(sum >> 8U);
    header[11] = static_cast<std::uint8_t>(sum & 0xffU);
    return header;
}

}  // namespace

Bytes dhcp_option(std::uint8_t code, const Bytes& value) {
    Bytes option{code, static_cast<std::uint8_t>(value.size())};
    put(option, value);
    return option;
}

Bytes address_bytes(const std::string& text) {
    const auto bytes = boost::asio::ip::make_address_v4(text).to_bytes();
    return {bytes.begin(), bytes.end()};
}

Bytes DhcpFrame::build() const {
    Bytes bootp{static_cast<std::uint8_t>(from_server ? 2 : 1), 1, 6, 0};
    put16(bootp, transaction >> 16U);
    put16(bootp, transaction & 0xffffU);
    // Broadcast flag, so that an answer needs no ARP.
    put(bootp, {0, 0, 0x80, 0, 0, 0, 0, 0});
    put(bootp, address_bytes(your_address));
    pad_to(bootp, 28);
    put_mac(bootp, client);
    pad_to(bootp, 44);
    put(bootp, sname);
    pad_to(bootp, 108);
    put(bootp, file);
    pad_to(bootp, 236);
    put(bootp, {0x63, 0x82, 0x53, 0x63});
    put(bootp, options);
    bootp.push_back(255);
    constexpr std::size_t smallest_bootp = 300;
    bootp.resize(std::max(bootp.size(), smallest_bootp));

    Bytes frame;
    put_mac(frame, destination);
    put_mac(frame, source);
    put(frame, {0x08, 0x00});
    put(frame, ip_header(ip_options, bootp.size() + 8, from_server ? "192.168.77.1" : "0.0.0.0",
                         "255.255.255.255"));
    put16(frame, from_server ? 67 : 68);
    put16(frame, from_server ? 68 : 67);
    put16(frame, bootp.size() + 8);
    put16(frame, 0);
    put(frame, bootp);
    return frame;
}

DhcpFrame dhcp_ack(const MacAddress& client, const std::string& address) {
    auto router = address_bytes(address);
    router[3] = 1;
    DhcpFrame frame;
    frame.source = MacAddress({0x02, 0, 0, 0, 0, 1});
    frame.client = client;
    frame.your_address = address;
    put(frame.options, dhcp_option(53, {5}));
    put(frame.options, dhcp_option(54, router));
    put(frame.options, dhcp_option(51, {0, 0, 0x0e, 0x10}));
    put(frame.options, dhcp_option(1, {255, 255, 255, 0}));
    put(frame.options, dhcp_option(3, router));
    return frame;
}

Bytes arp_frame(const MacAddress& sender, const std::string& sender_ip,
                const std::string& target_ip, std::uint16_t operation) {
    Bytes frame(6, 0xff);
    put_mac(frame, sender);
    put(frame, {0x08, 0x06, 0x00, 0x01, 0x08, 0x00, 0x06, 0x04});
    put16(frame, operation);
    put_mac(frame, sender);
    put(frame, address_bytes(sender_ip));
    frame.resize(frame.size() + 6);
    put(frame, address_bytes(target_ip));
    constexpr std::size_t smallest_frame = 60;
    frame.resize(smallest_frame);
    return frame;
}

Bytes ethernet_frame(const MacAddress& sender, const Bytes& destination, std::uint16_t type,
                     const Bytes& payload) {
    Bytes frame = destination;
    put_mac(frame, sender);
    put16(frame, type);
    put(frame, payload);
    constexpr std::size_t smallest_frame = 60;
    frame.resize(std::max(frame.size(), smallest_frame));
    return frame;
}

Bytes udp_frame(const MacAddress& sender, const std::string& from, const std::string& to,
                std::uint16_t from_port, std::uint16_t to_port, std::size_t payload) {
    auto packet = ip_header(0, 8 + payload, from, to);
    put16(packet, from_port);
    put16(packet, to_port);
    put16(packet, 8 + payload);
    put16(packet, 0);
    packet.resize(packet.size() + payload);
    return ethernet_frame(sender, Bytes(6, 0xff), 0x0800, packet);
}

Bytes icmpv6_frame(const MacAddress& sender, std::uint8_t type, const std::string& from,
                   const std::string& target) {
    Bytes packet{0x60, 0, 0, 0, 0, 24, 58, 255};
    const auto put_ipv6 = [&packet](const std::string& text) {
        const auto bytes = boost::asio::ip::make_address_v6(text).to_bytes();
        packet.insert(packet.end(), bytes.begin(), bytes.end());
    };
    put_ipv6(from);
    put_ipv6("ff02::1");
    put(packet, {type, 0, 0, 0, 0, 0, 0, 0});
    put_ipv6(target);
    return ethernet_frame(sender, {0x33, 0x33, 0, 0, 0, 1}, 0x86dd, packet);
}

}  // namespace noxsup::test
