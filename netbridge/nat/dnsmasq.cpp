#include "netbridge/nat/dnsmasq.hpp"

#include <algorithm>
#include <optional>

#include "supervisor/base/text.hpp"

namespace noxsup::netbridge {
namespace {

/// A line of the lease file: "EXPIRY MAC ADDRESS NAME CLIENT-ID".
struct Lease {
    MacAddress mac;
    Ipv4Address address;
};

std::optional<Lease> parse_lease(std::string_view line) {
    const auto fields = split(line, ' ');
    constexpr std::size_t fewest = 4;
    if (fields.size() < fewest) return std::nullopt;
    const auto mac = MacAddress::parse(fields[1]);
    const auto address = parse_ip(fields[2]);
    if (!mac || !address || !address->is_v4()) return std::nullopt;
    return Lease{*mac, address->to_v4()};
}

/// Kept for this one, or for nobody and out of the range for guests without a VM.
bool is_in_order(const Lease& lease, const std::vector<NatHost>& hosts, const NatSubnet& subnet) {
    for (const auto& host : hosts) {
        if (host.mac == lease.mac || host.address == lease.address)
            return host.mac == lease.mac && host.address == lease.address;
    }
    return lease.address >= subnet.host(NatSubnet::first_dynamic) &&
           lease.address <= subnet.host(NatSubnet::last_dynamic);
}

}  // namespace

std::string dnsmasq_mark(const DnsmasqPlan& plan) {
    return "--dhcp-hostsfile=" + (plan.directory / dhcp_hosts_name).string();
}

std::vector<std::string> dnsmasq_argv(const DnsmasqPlan& plan) {
    const std::string domain(nat_domain);
    const auto range = plan.subnet.host(NatSubnet::first_dynamic).to_string() + "," +
                       plan.subnet.host(NatSubnet::last_dynamic).to_string() + ",255.255.255.0,1h";
    return {plan.program,
            "--keep-in-foreground",
            "--log-facility=-",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--user=" + plan.user,
            "--group=nogroup",
            "--interface=" + plan.bridge.str(),
            "--except-interface=lo",
            "--bind-interfaces",
            "--no-hosts",
            "--addn-hosts=" + (plan.directory / dns_hosts_name).string(),
            "--domain=" + domain,
            "--local=/" + domain + "/",
            "--domain-needed",
            "--dhcp-range=" + range,
            dnsmasq_mark(plan),
            "--dhcp-leasefile=" + plan.leases.string(),
            "--dhcp-authoritative",
            "--dhcp-ignore-names",
            "--no-ping"};
}

std::string dhcp_hosts(const std::vector<NatHost>& hosts) {
    std::string text;
    for (const auto& host : hosts)
        text += host.mac.to_string() + "," + host.address.to_string() + "\n";
    return text;
}

std::string dns_hosts(const std::vector<NatHost>& hosts) {
    std::string text;
    for (const auto& host : hosts) {
        text += host.address.to_string() + " " + host.name + "." + std::string(nat_domain);
        // That one is everybody's own.
        if (host.name != "localhost") text += " " + host.name;
        text += "\n";
    }
    return text;
}

std::string prune_leases(std::string_view leases, const std::vector<NatHost>& hosts,
                         const NatSubnet& subnet) {
    std::string kept;
    for (const auto& line : split(leases, '\n')) {
        const auto lease = parse_lease(line);
        if (lease && is_in_order(*lease, hosts, subnet)) kept += line + "\n";
    }
    return kept;
}

bool leases_are_in_the_way(std::string_view leases, const std::vector<NatHost>& hosts) {
    return std::ranges::any_of(split(leases, '\n'), [&](const std::string& line) {
        const auto lease = parse_lease(line);
        return lease && std::ranges::any_of(hosts, [&](const NatHost& host) {
                   return host.address == lease->address && host.mac != lease->mac;
               });
    });
}

}  // namespace noxsup::netbridge
