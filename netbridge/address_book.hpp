// What addresses a guest has, put together from the things observed about it; no I/O.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>
#include <vector>

#include "netbridge/packets.hpp"

namespace noxsup::netbridge {

/// How an address became known.
enum class AddressSource { dhcp, arp, ndp, neighbour, agent };

/// "dhcp", "arp", "ndp", "neighbour" or "agent".
std::string_view to_string(AddressSource source);

/// One address of a guest.
struct ObservedAddress {
    IpAddress address;
    AddressSource source = AddressSource::dhcp;
    std::optional<unsigned> prefix_length;      ///< by DHCP only
    std::optional<IpAddress> gateway;           ///< by DHCP only
    std::optional<std::chrono::seconds> lease;  ///< by DHCP only

    bool operator==(const ObservedAddress&) const = default;
};

/// The addresses of one network card of one guest. The leased one comes first, then IPv4, then
/// IPv6, each in the order of being seen. A guest can claim what it likes, so at most `limit` are
/// kept, the newest.
class AddressBook {
  public:
    static constexpr std::size_t limit = 16;

    /// Each returns true when the list has changed.
    bool on_dhcp(const DhcpReply& reply);
    bool on_arp_claim(const Ipv4Address& address);
    bool on_ndp_claim(const Ipv6Address& address);
    bool on_neighbour(const IpAddress& address);
    bool on_agent(const IpAddress& address);
    /// The neighbour table shows the address at another MAC now. A leased one stays.
    bool on_taken_over(const IpAddress& address);

    [[nodiscard]] const std::vector<ObservedAddress>& addresses() const { return addresses_; }

  private:
    bool add(const ObservedAddress& seen);
    std::vector<ObservedAddress> addresses_;
};

/// Those of `seen` that the guest may send from when nothing else says which: what a DHCP server
/// gave it and what the host itself found at its MAC address. Where there is neither, what it
/// claimed by ARP or NDP, for there is nothing better after both its rules and their supervisor
/// went; never what its agent says.
std::vector<IpAddress> credible_addresses(const std::vector<ObservedAddress>& seen);

}  // namespace noxsup::netbridge
