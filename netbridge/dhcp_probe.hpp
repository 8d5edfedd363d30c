// Whether a bridge has a DHCP server: asked as a guest would ask, from a port of its own.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "netbridge/kernel_network.hpp"

namespace noxsup::netbridge {

/// A DHCPDISCOVER (RFC 2131, 4.4.1) in an Ethernet frame, to everyone, that asks for a broadcast
/// answer.
std::vector<std::uint8_t> dhcp_discover(const MacAddress& client, std::uint32_t transaction);

/// How often and how long is asked. A server that checks its offers by ping takes up to 3 s
/// (dnsmasq), and a port of a bridge with STP hears nothing for its delay.
struct DhcpProbeTimes {
    unsigned probes = 4;
    std::chrono::milliseconds pause{1'000};
};

/// Puts a TAP on the bridge for as long as it takes, so that a server on this host hears it too,
/// and asks for an offer, which is not taken. The server's address, or nothing when none answers in
/// time. Errors: as lease_tap(); io_error, interrupted.
boost::asio::awaitable<Result<std::optional<Ipv4Address>>> find_dhcp_server(
    KernelNetwork& kernel, InterfaceName bridge, DhcpProbeTimes times = {});

}  // namespace noxsup::netbridge
