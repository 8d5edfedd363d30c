#include "netbridge/nat/rules.hpp"

namespace noxsup::netbridge {
namespace {

std::string quoted(const std::string& name) {
    return '"' + name + '"';
}

std::string name_set(const std::vector<std::string>& names) {
    std::string list;
    for (const auto& name : names) list += (list.empty() ? "" : ", ") + quoted(name);
    return "{ " + list + " }";
}

std::string chain(const std::string& name, const std::string& type, const std::string& priority,
                  const std::string& rules) {
    if (rules.empty()) return {};
    return "  chain " + name + " {\n    type " + type + " hook " + name + " priority " + priority +
           "; policy accept;\n" + rules + "  }\n";
}

std::string forward_to_guest(const NatForward& forward) {
    const auto& publish = forward.publish;
    const auto where = publish.bind_address.is_unspecified()
                           ? std::string("fib daddr type local ip daddr != 127.0.0.0/8")
                           : "ip daddr " + publish.bind_address.to_string();
    return "    ip saddr != " + forward.guest.to_string() + " " + where + " " +
           std::string(to_string(publish.protocol)) + " dport " +
           std::to_string(publish.host_port) + " dnat to " + forward.guest.to_string() + ":" +
           std::to_string(publish.guest_port) + "\n";
}

std::string published(const NatRules& rules) {
    std::string text;
    for (const auto& forward : rules.forwards) text += forward_to_guest(forward);
    return text;
}

std::string postrouting_rules(const NatRules& rules) {
    const auto bridge = quoted(rules.bridge.str());
    const auto from_guests = "    ip saddr " + rules.subnet.to_string() + " oifname ";
    return from_guests + "!= { \"lo\", " + bridge + " } masquerade\n" + from_guests + bridge +
           " ct status dnat masquerade\n";
}

std::string forward_rules(const NatRules& rules) {
    const auto bridge = quoted(rules.bridge.str());
    std::string text = "    iifname " + bridge + " ip saddr != " + rules.subnet.to_string() +
                       " counter drop comment \"source address\"\n"
                       "    iifname " +
                       bridge +
                       " accept\n"
                       "    oifname " +
                       bridge +
                       " ct state { established, related } accept\n"
                       "    oifname " +
                       bridge +
                       " ct status dnat accept\n"
                       "    oifname " +
                       bridge + " counter drop comment \"not asked for\"\n";
    if (!rules.guarded.empty()) {
        // Answers, and ports that others publish, are theirs who asked or published.
        text += "    iifname " + name_set(rules.guarded) +
                " ct state new ct status & dnat == 0 counter drop comment \"no router\"\n";
    }
    return text;
}

std::string input_rules(const NatRules& rules) {
    const auto bridge = quoted(rules.bridge.str());
    return "    iifname " + bridge + " udp dport { 53, 67 } accept\n    iifname " + bridge +
           " tcp dport 53 accept\n    iifname != { \"lo\", " + bridge + " } ip daddr " +
           rules.subnet.gateway().to_string() + " counter drop comment \"not from VMs\"\n";
}

}  // namespace

bool is_forwarded(const PublishSpec& publish) {
    return !publish.bind_address.is_loopback();
}

std::string nat_removal() {
    const std::string name(nat_table);
    // `delete` of a table that is not there would fail, and with it all of the transaction.
    return "add table ip " + name + "\ndelete table ip " + name + "\n";
}

std::string nat_rules(const NatRules& rules) {
    return nat_removal() + "table ip " + std::string(nat_table) + " {\n" +
           chain("prerouting", "nat", "dstnat", published(rules)) +
           chain("output", "nat", "-100", published(rules)) +
           chain("postrouting", "nat", "srcnat", postrouting_rules(rules)) +
           chain("forward", "filter", "filter", forward_rules(rules)) +
           chain("input", "filter", "filter", input_rules(rules)) + "}\n";
}

}  // namespace noxsup::netbridge
