// Published ports: what `--publish [ADDR:]PORT:PORT[/udp]` means.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "netbridge/ip_address.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::netbridge {

enum class PortProtocol { tcp, udp };

/// "tcp" or "udp".
std::string_view to_string(PortProtocol protocol);

/// A host port that leads to a port of the guest.
struct PublishSpec {
    Ipv4Address bind_address =
        Ipv4Address::loopback();  ///< the host's side; 0.0.0.0 is every address
    std::uint16_t host_port = 0;
    std::uint16_t guest_port = 0;
    PortProtocol protocol = PortProtocol::tcp;

    bool operator==(const PublishSpec&) const = default;
    /// The form that parse_publish() reads: "127.0.0.1:8080:80/tcp".
    [[nodiscard]] std::string to_string() const;
};

/// Parses `[ADDR:]HOSTPORT:GUESTPORT[/tcp|/udp]`; without ADDR the port is bound to 127.0.0.1.
/// Errors: invalid_argument with the form that is meant.
Result<PublishSpec> parse_publish(std::string_view text);

/// True when both want the same host port (0.0.0.0 overlaps every address).
bool overlaps(const PublishSpec& a, const PublishSpec& b);

/// Errors: invalid_argument when two of one VM's want the same host port.
Result<> check_publish_list(std::span<const PublishSpec> specs);

}  // namespace noxsup::netbridge
