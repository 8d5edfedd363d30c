#include "netbridge/dhcp_probe.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>

#include "netbridge/packets.hpp"
#include "netbridge/tap_lease.hpp"
#include "supervisor/base/async.hpp"
#include "supervisor/base/random.hpp"

namespace noxsup::netbridge {
namespace {

/// struct virtio_net_hdr, which IFF_VNET_HDR puts before each frame; zeros mean "a plain frame".
constexpr std::size_t vnet_header = 10;
/// Whose the TAP of the question is: no VM's.
constexpr const char* nobodys_uuid = "00000000-0000-0000-0000-000000000000";

using Bytes = std::vector<std::uint8_t>;

void add16(Bytes& bytes, std::size_t value) {
    bytes.push_back(static_cast<std::uint8_t>(value >> 8U));
    bytes.push_back(static_cast<std::uint8_t>(value));
}

void add(Bytes& bytes, std::span<const std::uint8_t> more) {
    bytes.insert(bytes.end(), more.begin(), more.end());
}

/// RFC 1071.
std::uint16_t internet_checksum(std::span<const std::uint8_t> bytes) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i + 1 < bytes.size(); i += 2)
        sum += static_cast<std::uint32_t>(bytes[i] << 8U | bytes[i + 1]);
    while (sum >> 16U != 0) sum = (sum & 0xffffU) + (sum >> 16U);
    return static_cast<std::uint16_t>(~sum);
}

/// BOOTP's fixed part and the options (RFC 2131, 2).
Bytes discover_payload(const MacAddress& client, std::uint32_t transaction) {
    Bytes bootp{1, 1, 6, 0};  // BOOTREQUEST, Ethernet, six bytes of address, no relay
    add16(bootp, transaction >> 16U);
    add16(bootp, transaction & 0xffffU);
    bootp.insert(bootp.end(), {0, 0, 0x80, 0});  // seconds; the broadcast flag
    bootp.resize(28);                            // ciaddr, yiaddr, siaddr, giaddr
    add(bootp, client.bytes());
    bootp.resize(236);  // the rest of chaddr, sname, file
    add(bootp, std::array<std::uint8_t, 4>{99, 130, 83, 99});
    add(bootp, std::array<std::uint8_t, 8>{53, 1, 1,     // DHCPDISCOVER
                                           55, 2, 1, 3,  // wanted: netmask, router
                                           255});
    bootp.resize(300);  // what BOOTP's relays expect at least (RFC 1542, 2.1)
    return bootp;
}

std::uint32_t random_transaction() {
    std::uint32_t id = 0;
    fill_random(std::as_writable_bytes(std::span(&id, 1)));
    return id;
}

/// The first offer among the frames that wait. A TAP gives one frame a read.
Result<std::optional<Ipv4Address>> drain(int tap, const MacAddress& client) {
    std::array<std::uint8_t, 4096> buffer{};
    for (;;) {
        const auto got = ::read(tap, buffer.data(), buffer.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) return std::optional<Ipv4Address>();
        if (got < 0) return errno_error("read answers to a DHCP question", errno);
        const auto size = static_cast<std::size_t>(got);
        if (size <= vnet_header) continue;
        const auto frame = std::span(buffer).first(size).subspan(vnet_header);
        if (auto server = parse_dhcp_offer(frame, client)) return server;
    }
}

}  // namespace

std::vector<std::uint8_t> dhcp_discover(const MacAddress& client, std::uint32_t transaction) {
    constexpr std::size_t ip_header = 20, udp_header = 8;
    const auto payload = discover_payload(client, transaction);
    Bytes ip{0x45, 0};
    add16(ip, ip_header + udp_header + payload.size());
    ip.insert(ip.end(), {0, 0, 0, 0, 64, 17, 0, 0});        // no fragment, TTL 64, UDP
    ip.insert(ip.end(), {0, 0, 0, 0, 255, 255, 255, 255});  // from no address to all
    const auto checksum = internet_checksum(ip);
    ip[10] = static_cast<std::uint8_t>(checksum >> 8U);
    ip[11] = static_cast<std::uint8_t>(checksum);

    Bytes frame(6, 0xff);
    add(frame, client.bytes());
    add16(frame, 0x0800);
    add(frame, ip);
    add16(frame, 68);
    add16(frame, 67);
    add16(frame, udp_header + payload.size());
    add16(frame, 0);  // no checksum, which UDP over IPv4 allows
    add(frame, payload);
    return frame;
}

boost::asio::awaitable<Result<std::optional<Ipv4Address>>> find_dhcp_server(KernelNetwork& kernel,
                                                                            InterfaceName bridge,
                                                                            DhcpProbeTimes times) {
    const auto client = random_guest_mac();
    TapRequest wanted{bridge, make_tap_id(), nobodys_uuid, client};
    // Nothing but this question goes through it.
    wanted.check_source = false;
    NOXSUP_CO_TRY_VALUE(const auto lease, lease_tap(kernel, wanted));
    const int tap = lease.taps.front().get();
    if (::fcntl(tap, F_SETFL, O_NONBLOCK) != 0)
        co_return errno_error("ask for a DHCP server on " + bridge.str(), errno);
    Bytes question(vnet_header, 0);
    add(question, dhcp_discover(client, random_transaction()));
    for (unsigned i = 0; i < times.probes; ++i) {
        if (::write(tap, question.data(), question.size()) < 0)
            co_return errno_error("ask for a DHCP server on " + bridge.str(), errno);
        const bool slept = co_await sleep_for(times.pause);
        if (!slept) co_return Error{ErrorCode::interrupted, "interrupted"};
        NOXSUP_CO_TRY_VALUE(const auto server, drain(tap, client));
        if (server) co_return server;
    }
    co_return std::optional<Ipv4Address>();
}

}  // namespace noxsup::netbridge
