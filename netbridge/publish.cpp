#include "netbridge/publish.hpp"

#include <charconv>

#include "supervisor/base/text.hpp"

namespace noxsup::netbridge {
namespace {

Error malformed(std::string_view text, std::string_view why) {
    return {ErrorCode::invalid_argument,
            "\"" + escape_for_terminal(text) + "\" is no port to publish: " + std::string(why),
            "write [ADDRESS:]HOSTPORT:GUESTPORT[/udp], as in 8080:80 or 0.0.0.0:5353:53/udp"};
}

Result<std::uint16_t> parse_port(std::string_view text, std::string_view whole) {
    std::uint16_t port = 0;
    const auto* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, port);
    if (parsed.ec != std::errc{} || parsed.ptr != end || port == 0) {
        return malformed(whole, "a port is a number from 1 to 65535");
    }
    return port;
}

}  // namespace

std::string_view to_string(PortProtocol protocol) {
    return protocol == PortProtocol::tcp ? "tcp" : "udp";
}

std::string PublishSpec::to_string() const {
    return bind_address.to_string() + ":" + std::to_string(host_port) + ":" +
           std::to_string(guest_port) + "/" + std::string(netbridge::to_string(protocol));
}

Result<PublishSpec> parse_publish(std::string_view text) {
    PublishSpec spec;
    auto rest = text;
    if (const auto slash = rest.find('/'); slash != std::string_view::npos) {
        const auto protocol = rest.substr(slash + 1);
        if (protocol != "tcp" && protocol != "udp") {
            return malformed(text, "the protocol is tcp or udp");
        }
        if (protocol == "udp") spec.protocol = PortProtocol::udp;
        rest = rest.substr(0, slash);
    }
    if (rest.find_first_of("[]") != std::string_view::npos) {
        return malformed(text, "the host's address is an IPv4 address");
    }
    const auto last = rest.rfind(':');
    if (last == std::string_view::npos) return malformed(text, "two ports are needed");
    NOXSUP_TRY_VALUE(spec.guest_port, parse_port(rest.substr(last + 1), text));
    auto host = rest.substr(0, last);
    if (const auto colon = host.rfind(':'); colon != std::string_view::npos) {
        const auto address = parse_ip(host.substr(0, colon));
        if (!address || !address->is_v4() || address->is_multicast()) {
            return malformed(text, "the host's address is an IPv4 address");
        }
        spec.bind_address = address->to_v4();
        host = host.substr(colon + 1);
    }
    NOXSUP_TRY_VALUE(spec.host_port, parse_port(host, text));
    return spec;
}

bool overlaps(const PublishSpec& a, const PublishSpec& b) {
    return a.host_port == b.host_port && a.protocol == b.protocol &&
           (a.bind_address == b.bind_address || a.bind_address.is_unspecified() ||
            b.bind_address.is_unspecified());
}

Result<> check_publish_list(std::span<const PublishSpec> specs) {
    for (std::size_t i = 0; i < specs.size(); ++i) {
        for (std::size_t k = 0; k < i; ++k) {
            if (!overlaps(specs[i], specs[k])) continue;
            return Error{ErrorCode::invalid_argument,
                         "host port " + std::to_string(specs[i].host_port) +
                             " is published twice: " + specs[k].to_string() + " and " +
                             specs[i].to_string()};
        }
    }
    return {};
}

}  // namespace noxsup::netbridge
