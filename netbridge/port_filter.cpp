#include "netbridge/port_filter.hpp"

#include <algorithm>
#include <span>

#include "supervisor/base/text.hpp"

namespace noxsup::netbridge {
namespace {

/// What the kernel learns of leases in a VM's life; more are no host's.
constexpr std::string_view learned_limit = "256";

std::string quoted(const InterfaceName& name) {
    return '"' + name.str() + '"';
}

std::string v6_elements(const std::vector<IpAddress>& addresses) {
    std::vector<std::string> words;
    for (const auto& address : addresses)
        if (address.is_v6()) words.push_back(address.to_string());
    return join(words, ", ");
}

/// "elements = { 0xc0a80114 }; " or nothing.
std::string v4_elements(const std::vector<IpAddress>& addresses) {
    std::vector<std::string> words;
    for (const auto& address : addresses) {
        if (!address.is_v4()) continue;
        const auto bytes = address.to_v4().to_bytes();
        words.push_back("0x" + to_hex(std::as_bytes(std::span(bytes))));
    }
    return words.empty() ? "" : "elements = { " + join(words, ", ") + " }; ";
}

/// The source addresses of an IPv4 and of an ARP packet (RFC 791, 826). By their places, and so are
/// the set's elements: nftables 1.1 adds what it finds by its place to no set of addresses.
constexpr std::string_view ipv4_source = "@nh,96,32";
constexpr std::string_view arp_source = "@nh,112,32";

/// The guest's IPv4 addresses: those given by hand, or those that DHCP servers give it.
std::string address_set(const PortFilter& filter) {
    const auto begin = "  set addresses { typeof " + std::string(ipv4_source) + "; ";
    if (!filter.fixed.empty()) return begin + v4_elements(filter.fixed) + "}\n";
    return begin + "flags dynamic; size " + std::string(learned_limit) + "; " +
           v4_elements(filter.known) + "}\n";
}

/// yiaddr of a BOOTP reply to this client: op is byte 0, yiaddr bytes 16 to 19 and chaddr bytes 28
/// to 33 of the message (RFC 2131), which follows the 8 bytes of UDP's header.
std::string learning_rule(const PortFilter& filter) {
    auto mac = filter.guest_mac.to_string();
    std::erase(mac, ':');
    return "    oifname " + quoted(filter.tap) +
           " udp sport 67 udp dport 68 @th,64,8 2 @th,288,48 0x" + mac +
           " add @addresses { @th,192,32 }\n";
}

/// What exceeds the rate; the burst is a tenth of a second, and some segments of 64 KiB at least,
/// as cards with offloads send them.
std::string limit_words(const PortFilter& filter) {
    constexpr std::uint64_t least_burst = std::uint64_t{256} << 10;
    const auto bytes = filter.rate / 8;
    return "limit rate over " + std::to_string(bytes) + " bytes/second burst " +
           std::to_string(std::max(bytes / 10, least_burst)) +
           " bytes counter drop comment \"rate\"\n";
}

std::string chain(const std::string& name, const std::string& hook, const std::string& rules) {
    if (rules.empty()) return {};
    return "  chain " + name + " {\n    type filter hook " + hook +
           " priority -300; policy accept;\n" + rules + "  }\n";
}

std::string ipv6_rules(const PortFilter& filter) {
    const auto fixed = v6_elements(filter.fixed);
    std::string rules =
        "    icmpv6 type { nd-router-advert, nd-redirect } counter drop comment \"router\"\n";
    // Its own address on the link and the one of a probe (RFC 4862) it always has.
    if (!fixed.empty()) {
        rules += "    ip6 saddr { ::, fe80::/10, " + fixed + " } accept\n";
        rules += "    ether type ip6 counter drop comment \"source address\"\n";
    }
    return rules + "    ether type ip6 accept\n";
}

std::string guest_chain(const PortFilter& filter) {
    const auto mac = filter.guest_mac.to_string();
    return "  chain from_guest {\n"
           "    ether saddr != " +
           mac +
           " counter drop comment \"source MAC\"\n"
           "    ether type { 8021q, 8021ad } counter drop comment \"VLAN tag\"\n"
           "    ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 counter drop comment "
           "\"bridge protocols\"\n"
           "    arp saddr ether != " +
           mac +
           " counter drop comment \"source MAC\"\n"
           // A probe for an address that is to be had (RFC 5227) claims none.
           "    arp operation request arp saddr ip 0.0.0.0 accept\n"
           "    ether type arp " +
           std::string(arp_source) +
           " @addresses accept\n"
           "    ether type arp counter drop comment \"source address\"\n"
           "    udp sport { 67, 547 } counter drop comment \"DHCP server\"\n" +
           ipv6_rules(filter) +
           "    ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept\n"
           "    ether type ip " +
           std::string(ipv4_source) +
           " @addresses accept\n"
           "    ether type ip counter drop comment \"source address\"\n"
           "    counter drop comment \"protocol\"\n"
           "  }\n";
}

std::string prerouting_rules(const PortFilter& filter) {
    const auto tap = "    iifname " + quoted(filter.tap) + " ";
    std::string rules;
    // An accepted frame leaves the chain at once, so the rate comes first.
    if (filter.rate != 0) rules += tap + limit_words(filter);
    if (filter.check_source) rules += tap + "jump from_guest\n";
    return rules;
}

/// Frames to the bridge's own protocols are handed to the host before the prerouting hook; BPDUs,
/// where the bridge heeds them, before any: KernelNetwork::guard_port() is against those.
std::string input_rules(const PortFilter& filter) {
    if (!filter.check_source) return {};
    return "    iifname " + quoted(filter.tap) +
           " ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 counter drop comment "
           "\"bridge protocols\"\n";
}

std::string forward_rules(const PortFilter& filter) {
    if (!filter.isolated) return {};
    const auto tap = quoted(filter.tap);
    return "    iifname " + tap +
           " oifname \"nx*\" counter drop comment \"isolated\"\n"
           "    oifname " +
           tap + " iifname \"nx*\" counter drop comment \"isolated\"\n";
}

std::string postrouting_rules(const PortFilter& filter) {
    std::string rules;
    if (filter.check_source && filter.fixed.empty()) rules += learning_rule(filter);
    if (filter.rate != 0) rules += "    oifname " + quoted(filter.tap) + " " + limit_words(filter);
    return rules;
}

}  // namespace

std::string filter_table(const InterfaceName& tap) {
    return std::string(filter_table_prefix) + tap.str();
}

std::string filter_removal(std::string_view table) {
    const auto name = std::string(table);
    // `delete` of a table that is not there would fail, and with it all of the transaction.
    return "add table bridge " + name + "\ndelete table bridge " + name + "\n";
}

std::string filter_rules(const PortFilter& filter) {
    const auto name = filter_table(filter.tap);
    auto rules = filter_removal(name) + "table bridge " + name + " {\n";
    if (filter.check_source) rules += address_set(filter) + guest_chain(filter);
    rules += chain("prerouting", "prerouting", prerouting_rules(filter));
    rules += chain("input", "input", input_rules(filter));
    rules += chain("forward", "forward", forward_rules(filter));
    rules += chain("postrouting", "postrouting", postrouting_rules(filter));
    return rules + "}\n";
}

}  // namespace noxsup::netbridge
