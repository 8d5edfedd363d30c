#include "netbridge/packet_socket.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <utility>
#include <vector>

#include "tests/component/netbridge/bridge_fixture.hpp"

namespace noxsup::netbridge {
namespace {

class PacketSocketTest : public BridgeTest {
  protected:
    using Passed = std::vector<std::pair<test::Bytes, bool>>;

    /// Waits for `count` frames to come through the filter; then all that came, more than that
    /// included.
    static Passed passed(int socket, std::size_t count) {
        Passed result;
        std::array<std::uint8_t, 2048> buffer{};
        for (;;) {
            pollfd waiting{socket, POLLIN, 0};
            if (::poll(&waiting, 1, result.size() < count ? 2000 : 0) != 1) return result;
            const auto received = receive_frame(socket, buffer);
            if (!received || !*received) return result;
            const auto frame = (*received)->frame;
            result.emplace_back(test::Bytes(frame.begin(), frame.end()), (*received)->to_guest);
        }
    }
};

test::Bytes tagged(test::Bytes frame) {
    frame.insert(frame.begin() + 12, {0x81, 0x00, 0x00, 0x05});
    return frame;
}

TEST_F(PacketSocketTest, PassesOnlyWhatTellsTheGuestsAddress) {
    const auto guest = make_guest(1);
    const auto other = make_guest(2);
    const auto socket = open_guest_socket(guest.link().index, guest.mac());
    ASSERT_TRUE(socket) << socket.error().message;

    const auto ack = test::dhcp_ack(guest.mac(), "192.168.77.20").build();
    const auto arp = test::arp_frame(guest.mac(), "192.168.77.20", "192.168.77.1");
    auto spoofed_arp = test::arp_frame(guest.mac(), "192.168.77.66", "192.168.77.1");
    const auto advertisement = test::icmpv6_frame(guest.mac(), 136);
    auto fragment = ack;
    fragment[20] = 0x20;
    auto other_port = ack;
    other_port[37] = 69;
    auto request = test::dhcp_ack(guest.mac(), "192.168.77.20");
    request.from_server = false;

    for (int i = 0; i < 100; ++i) {
        // To the guest: others' answers, ARP, other UDP, fragments.
        other.send(test::dhcp_ack(other.mac(), "192.168.77.21").build());
        other.send(test::arp_frame(other.mac(), "192.168.77.21", "192.168.77.20"));
        other.send(fragment);
        other.send(other_port);
        // From the guest: its requests, an answer it made up, tagged and other frames.
        guest.send(request.build());
        guest.send(ack);
        guest.send(tagged(arp));
        guest.send(test::arp_frame(other.mac(), "192.168.77.9", "192.168.77.1"));
        guest.send(test::icmpv6_frame(other.mac(), 136));
        guest.send(test::icmpv6_frame(guest.mac(), 134));
        guest.send(test::icmpv6_frame(guest.mac(), 137));
    }
    // The guest's MAC comes from the wrong side of the bridge.
    other.send(spoofed_arp);
    other.send(ack);
    guest.send(arp);
    guest.send(advertisement);
    const auto frames = passed(socket->get(), 3);
    ASSERT_EQ(frames.size(), 3U);
    EXPECT_EQ(frames[2].first, advertisement);
    EXPECT_FALSE(frames[2].second);
    EXPECT_EQ(frames[0].first, ack);
    EXPECT_TRUE(frames[0].second) << "on its way to the guest";
    EXPECT_EQ(frames[1].first, arp);
    EXPECT_FALSE(frames[1].second);
}

TEST_F(PacketSocketTest, IpOptionsDoNotHideAnAnswer) {
    const auto guest = make_guest(1);
    const auto other = make_guest(2);
    const auto socket = open_guest_socket(guest.link().index, guest.mac());
    ASSERT_TRUE(socket);
    auto ack = test::dhcp_ack(guest.mac(), "192.168.77.20");
    ack.ip_options = 8;
    other.send(ack.build());
    const auto frames = passed(socket->get(), 1);
    ASSERT_EQ(frames.size(), 1U);
    EXPECT_EQ(frames[0].first, ack.build());
}

TEST_F(PacketSocketTest, TheFilterFitsTheMac) {
    const MacAddress mac({0x52, 0x54, 0x00, 0xff, 0xfe, 0xfd});
    const auto program = guest_address_filter(mac);
    EXPECT_LE(program.size(), 40U);
    EXPECT_EQ(program.back().code, BPF_RET | BPF_K);
    EXPECT_EQ(program.back().k, 0U) << "drop";
}

TEST_F(PacketSocketTest, NoSuchDeviceAndNoRightAreErrors) {
    const MacAddress mac({0x52, 0x54, 0x00, 1, 2, 3});
    EXPECT_EQ(open_guest_socket(4711, mac).error().code, ErrorCode::io_error);
    const test::WithoutCapability less(CAP_NET_RAW);
    EXPECT_EQ(open_guest_socket(find("br0").index, mac).error().code, ErrorCode::host_lacks_right);
}

}  // namespace
}  // namespace noxsup::netbridge
