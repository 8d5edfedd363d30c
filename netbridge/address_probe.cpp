#include "netbridge/address_probe.hpp"

#include <linux/if_ether.h>

#include <algorithm>
#include <boost/asio.hpp>
#include <cerrno>

#include "netbridge/packet_socket.hpp"
#include "supervisor/base/async.hpp"

namespace noxsup::netbridge {
namespace {

namespace asio = boost::asio;

//  Ethernet II   14 bytes: destination 6, source 6, type 2
//  ARP (RFC 826) 28: htype 2, ptype 2, hlen 1, plen 1, oper 2, sha 6, spa 4, tha 6, tpa 4
constexpr std::array<std::uint8_t, 10> probe_head{0x08, 0x06, 0x00, 0x01, 0x08,
                                                  0x00, 6,    4,    0x00, 1};
constexpr std::size_t type_at = 12;
constexpr std::size_t sender_mac_at = 22;
constexpr std::size_t target_ip_at = 38;

/// The first frame that tells the owner, of those that wait.
Result<std::optional<MacAddress>> drain(int socket, const Ipv4Address& target) {
    std::array<std::uint8_t, 128> buffer{};
    for (;;) {
        NOXSUP_TRY_VALUE(const auto received, receive_frame(socket, buffer));
        if (!received) return std::optional<MacAddress>();
        if (const auto owner = parse_arp_owner(received->frame, target)) return owner;
    }
}

}  // namespace

std::array<std::uint8_t, arp_frame_size> arp_probe(const MacAddress& sender,
                                                   const Ipv4Address& target) {
    std::array<std::uint8_t, arp_frame_size> frame{};
    std::fill_n(frame.begin(), sender.bytes().size(), std::uint8_t{0xff});
    std::ranges::copy(sender.bytes(), frame.begin() + 6);
    std::ranges::copy(probe_head, frame.begin() + type_at);
    std::ranges::copy(sender.bytes(), frame.begin() + sender_mac_at);
    std::ranges::copy(target.to_bytes(), frame.begin() + target_ip_at);
    return frame;
}

std::optional<MacAddress> parse_arp_owner(Frame frame, const Ipv4Address& target) {
    const auto arp = parse_arp(frame);
    if (!arp || arp->sender != target) return std::nullopt;
    if (arp->operation != ArpPacket::request && arp->operation != ArpPacket::reply)
        return std::nullopt;
    if (arp->sender_mac.is_zero() || arp->sender_mac.is_multicast()) return std::nullopt;
    return arp->sender_mac;
}

asio::awaitable<Result<std::optional<MacAddress>>> find_address_owner(Link link, Ipv4Address target,
                                                                      ProbeTimes times) {
    NOXSUP_CO_TRY_VALUE(auto socket, open_arp_socket(link.index));
    const auto executor = co_await asio::this_coro::executor;
    asio::posix::stream_descriptor packets(executor, socket.release());
    const auto frame = arp_probe(link.mac, target);
    for (unsigned i = 0; i < times.probes; ++i) {
        if (::write(packets.native_handle(), frame.data(), frame.size()) < 0) {
            co_return errno_error("ask for " + target.to_string() + " on " + link.name, errno);
        }
        // Answers come within milliseconds; what came is looked at at the end of each pause.
        const bool slept = co_await sleep_for(times.pause);
        if (!slept) co_return Error{ErrorCode::interrupted, "interrupted"};
        NOXSUP_CO_TRY_VALUE(const auto owner, drain(packets.native_handle(), target));
        if (owner) co_return owner;
    }
    co_return std::optional<MacAddress>();
}

}  // namespace noxsup::netbridge
