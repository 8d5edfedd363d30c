#include "netbridge/ip_address.hpp"

#include <algorithm>
#include <charconv>
#include <span>

#include "supervisor/base/text.hpp"

namespace noxsup::netbridge {
namespace {

std::string quoted(std::string_view text) {
    return "\"" + escape_for_terminal(text) + "\"";
}

Error invalid(std::string message, std::string hint = {}) {
    return {ErrorCode::invalid_argument, std::move(message), std::move(hint)};
}

std::vector<std::uint8_t> bytes_of(const IpAddress& address) {
    if (address.is_v4()) {
        const auto bytes = address.to_v4().to_bytes();
        return {bytes.begin(), bytes.end()};
    }
    const auto bytes = address.to_v6().to_bytes();
    return {bytes.begin(), bytes.end()};
}

bool bit(std::span<const std::uint8_t> bytes, std::size_t position) {
    return (std::uint32_t{bytes[position / 8]} >> (7 - position % 8) & 1U) != 0;
}

bool same_prefix(const IpAddress& a, const IpAddress& b, unsigned length) {
    const auto left = bytes_of(a);
    const auto right = bytes_of(b);
    for (std::size_t i = 0; i < length; ++i) {
        if (bit(left, i) != bit(right, i)) return false;
    }
    return true;
}

/// All bits after the prefix have this value.
bool host_bits_are(const IpAddress& address, unsigned length, bool value) {
    const auto bytes = bytes_of(address);
    for (std::size_t i = length; i < bytes.size() * 8; ++i) {
        if (bit(bytes, i) != value) return false;
    }
    return true;
}

/// Why no interface can have the address, or nothing.
std::string_view unusable(const IpCidr& cidr) {
    const auto& address = cidr.address;
    if (address.is_unspecified()) return "it is the unspecified address";
    if (address.is_loopback()) return "it is a loopback address";
    if (address.is_multicast()) return "it is a multicast address";
    if (address.is_v4() && !is_host_address(address.to_v4())) return "the range is reserved";
    if (address.is_v6() && address.to_v6().is_v4_mapped())
        return "it is an IPv4 address in disguise";
    // A /31 has two usable addresses (RFC 3021) and so has a /127 (RFC 6164).
    const unsigned bits = address.is_v4() ? 32 : 128;
    if (cidr.prefix_length + 1 >= bits) return {};
    if (host_bits_are(address, cidr.prefix_length, false)) return "it is the subnet's own address";
    if (address.is_v4() && host_bits_are(address, cidr.prefix_length, true)) {
        return "it is the subnet's broadcast address";
    }
    return {};
}

Result<std::optional<IpAddress>> parse_gateway(std::string_view text, const IpCidr& own) {
    if (text.empty()) return std::optional<IpAddress>{};
    NOXSUP_TRY_VALUE(auto gateway, parse_ip(text));
    if (gateway.is_v4() != own.address.is_v4()) {
        return invalid("gateway " + gateway.to_string() + " and address " + own.to_string() +
                       " are not of the same family");
    }
    if (gateway == own.address) {
        return invalid("gateway " + gateway.to_string() + " is the VM's own address");
    }
    const bool link_local = gateway.is_v6() && gateway.to_v6().is_link_local();
    if (!link_local && !own.contains(gateway)) {
        return invalid(
            "gateway " + gateway.to_string() + " is not in the subnet of " + own.to_string(),
            "give the router's address in that subnet, or another prefix length");
    }
    if (const auto why = unusable({gateway, own.prefix_length}); !why.empty()) {
        return invalid("gateway " + gateway.to_string() +
                       " cannot be a router: " + std::string(why));
    }
    return std::optional(gateway);
}

}  // namespace

std::string IpCidr::to_string() const {
    return address.to_string() + "/" + std::to_string(prefix_length);
}

bool IpCidr::contains(const IpAddress& other) const {
    return other.is_v4() == address.is_v4() && same_prefix(address, other, prefix_length);
}

Result<IpAddress> parse_ip(std::string_view text) {
    boost::system::error_code failure;
    // The text goes through a C string there: a NUL would hide what follows it.
    const bool clean = text.find_first_of(std::string_view("%\0", 2)) == std::string_view::npos;
    auto address = boost::asio::ip::make_address(text, failure);
    if (failure || !clean) {
        return invalid(quoted(text) + " is not an IP address",
                       "write it as 192.168.1.20 or fd00::20");
    }
    return address;
}

Result<IpCidr> parse_interface_cidr(std::string_view text) {
    const auto slash = text.find('/');
    if (slash == std::string_view::npos) {
        return invalid(quoted(text) + " has no prefix length", "write it as 192.168.1.20/24");
    }
    IpCidr cidr;
    NOXSUP_TRY_VALUE(cidr.address, parse_ip(text.substr(0, slash)));
    const auto length = text.substr(slash + 1);
    const auto* end = length.data() + length.size();
    const auto parsed = std::from_chars(length.data(), end, cidr.prefix_length);
    const unsigned bits = cidr.address.is_v4() ? 32 : 128;
    if (parsed.ec != std::errc{} || parsed.ptr != end || cidr.prefix_length == 0 ||
        cidr.prefix_length > bits) {
        return invalid(quoted(text) + ": the prefix length is a number from 1 to " +
                       std::to_string(bits));
    }
    if (const auto why = unusable(cidr); !why.empty()) {
        return invalid("a VM cannot have the address " + cidr.to_string() + ": " +
                       std::string(why));
    }
    return cidr;
}

bool is_host_address(const Ipv4Address& address) {
    const auto first = address.to_bytes()[0];
    constexpr std::uint8_t loopback_net = 127;
    constexpr std::uint8_t first_multicast = 224;
    return first != 0 && first != loopback_net && first < first_multicast;
}

Result<std::optional<StaticNetwork>> parse_static_network(std::string_view ip,
                                                          std::string_view gateway,
                                                          const std::vector<std::string>& dns) {
    if (ip.empty()) {
        if (gateway.empty() && dns.empty()) return std::optional<StaticNetwork>{};
        return invalid("a gateway or DNS server without an address",
                       "add --ip, as in 192.168.1.20/24");
    }
    StaticNetwork network;
    NOXSUP_TRY_VALUE(network.address, parse_interface_cidr(ip));
    NOXSUP_TRY_VALUE(network.gateway, parse_gateway(gateway, network.address));
    for (const auto& text : dns) {
        NOXSUP_TRY_VALUE(const auto server, parse_ip(text));
        if (server.is_unspecified() || server.is_multicast()) {
            return invalid(server.to_string() + " cannot be a DNS server");
        }
        network.dns.push_back(server);
    }
    return std::optional(std::move(network));
}

Result<> check_in_subnet(const IpCidr& wanted, const std::vector<IpCidr>& own,
                         const std::string& bridge) {
    const auto text = wanted.address.to_string();
    std::string subnets;
    bool inside = false;
    for (const auto& host : own) {
        if (host.address.is_v4() != wanted.address.is_v4()) continue;
        if (host.address.is_v6() && host.address.to_v6().is_link_local()) continue;
        if (host.address == wanted.address) {
            return Error{ErrorCode::address_taken, "--ip " + text + " is this host's own address",
                         "choose another address"};
        }
        inside |= host.contains(wanted.address);
        subnets += (subnets.empty() ? "" : ", ") + host.to_string();
    }
    if (inside || subnets.empty()) return {};
    return Error{ErrorCode::invalid_argument,
                 "--ip " + text + " is in no subnet of " + bridge + " (" + subnets + ")",
                 "choose an address of that network"};
}

}  // namespace noxsup::netbridge
