// Whether somebody on the network has an address already, asked as RFC 5227 has it.
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <optional>

#include "netbridge/kernel_network.hpp"
#include "netbridge/packets.hpp"

namespace noxsup::netbridge {

inline constexpr std::size_t arp_frame_size = 42;

/// An ARP probe (RFC 5227, 2.1.1): a request for `target` to everyone, from no address.
std::array<std::uint8_t, arp_frame_size> arp_probe(const MacAddress& sender,
                                                   const Ipv4Address& target);

/// The MAC address of whoever claims `target` in this ARP request or reply: its sender. Nothing for
/// anything else and anything malformed.
std::optional<MacAddress> parse_arp_owner(Frame frame, const Ipv4Address& target);

/// How often and how long is asked; a sleeping device on Wi-Fi may be missed, as by every probe.
struct ProbeTimes {
    unsigned probes = 3;
    std::chrono::milliseconds pause{300};
};

/// Asks on the device whether `target` is in use; the owner's MAC address, or nothing when nobody
/// answers in time. Errors: host_lacks_right without CAP_NET_RAW, io_error, interrupted.
boost::asio::awaitable<Result<std::optional<MacAddress>>> find_address_owner(Link link,
                                                                             Ipv4Address target,
                                                                             ProbeTimes times = {});

}  // namespace noxsup::netbridge
