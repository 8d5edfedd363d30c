#include "netbridge/address_book.hpp"

#include <algorithm>

namespace noxsup::netbridge {
namespace {

bool usable(const IpAddress& address) {
    if (address.is_v4()) return is_host_address(address.to_v4());
    const auto v6 = address.to_v6();
    // A link-local address is of no use without naming an interface of the host.
    return !v6.is_unspecified() && !v6.is_loopback() && !v6.is_multicast() && !v6.is_link_local() &&
           !v6.is_v4_mapped();
}

/// Leased, other IPv4, IPv6.
int rank(const ObservedAddress& entry) {
    if (entry.source == AddressSource::dhcp) return 0;
    return entry.address.is_v4() ? 1 : 2;
}

ObservedAddress seen_by(AddressSource source, const IpAddress& address) {
    ObservedAddress entry;
    entry.address = address;
    entry.source = source;
    return entry;
}

}  // namespace

std::string_view to_string(AddressSource source) {
    switch (source) {
        case AddressSource::dhcp:
            return "dhcp";
        case AddressSource::arp:
            return "arp";
        case AddressSource::ndp:
            return "ndp";
        case AddressSource::neighbour:
            return "neighbour";
        case AddressSource::agent:
            break;
    }
    return "agent";
}

bool AddressBook::on_dhcp(const DhcpReply& reply) {
    const auto before = addresses_;
    const auto leased = [](const ObservedAddress& entry) {
        return entry.source == AddressSource::dhcp;
    };
    std::erase_if(addresses_, leased);
    if (reply.kind == DhcpReply::Kind::ack && usable(reply.address)) {
        const auto same = [&](const ObservedAddress& entry) {
            return entry.address == reply.address;
        };
        std::erase_if(addresses_, same);
        auto entry = seen_by(AddressSource::dhcp, reply.address);
        entry.prefix_length = reply.prefix_length;
        if (reply.router) entry.gateway = *reply.router;
        entry.lease = reply.lease;
        add(entry);
    }
    return addresses_ != before;
}

bool AddressBook::on_arp_claim(const Ipv4Address& address) {
    return add(seen_by(AddressSource::arp, address));
}

bool AddressBook::on_ndp_claim(const Ipv6Address& address) {
    return add(seen_by(AddressSource::ndp, address));
}

bool AddressBook::on_neighbour(const IpAddress& address) {
    return add(seen_by(AddressSource::neighbour, address));
}

bool AddressBook::on_agent(const IpAddress& address) {
    return add(seen_by(AddressSource::agent, address));
}

bool AddressBook::on_taken_over(const IpAddress& address) {
    const auto lost = [&](const ObservedAddress& entry) {
        return entry.address == address && entry.source != AddressSource::dhcp;
    };
    return std::erase_if(addresses_, lost) > 0;
}

bool AddressBook::add(const ObservedAddress& seen) {
    if (!usable(seen.address)) return false;
    if (std::ranges::find(addresses_, seen.address, &ObservedAddress::address) !=
        addresses_.end()) {
        return false;
    }
    if (addresses_.size() == limit) {
        // The oldest that is not leased makes room; there is at most one lease, so there is such a
        // one.
        addresses_.erase(std::ranges::find_if(addresses_, [](const ObservedAddress& entry) {
            return entry.source != AddressSource::dhcp;
        }));
    }
    const auto place = std::ranges::upper_bound(addresses_, rank(seen), {}, rank);
    addresses_.insert(place, seen);
    return true;
}

std::vector<IpAddress> credible_addresses(const std::vector<ObservedAddress>& seen) {
    std::vector<IpAddress> found, claimed;
    for (const auto& entry : seen) {
        const bool by_others =
            entry.source == AddressSource::dhcp || entry.source == AddressSource::neighbour;
        if (by_others) {
            found.push_back(entry.address);
        } else if (entry.source != AddressSource::agent) {
            claimed.push_back(entry.address);
        }
    }
    return found.empty() ? claimed : found;
}

}  // namespace noxsup::netbridge
