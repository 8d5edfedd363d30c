#include "netbridge/packets.hpp"

#include <gtest/gtest.h>

#include "tests/support/packet_builder.hpp"

namespace noxsup::netbridge {
namespace {

using namespace std::chrono_literals;
using test::Bytes;

const MacAddress guest({0x52, 0x54, 0x00, 0x12, 0x34, 0x56});
const MacAddress stranger({0x52, 0x54, 0x00, 0x12, 0x34, 0x57});

void append(Bytes& to, const Bytes& what) {
    to.insert(to.end(), what.begin(), what.end());
}

TEST(DhcpReply, ReadsAnAck) {
    const auto reply = parse_dhcp_reply(test::dhcp_ack(guest, "192.168.77.20").build(), guest);
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->kind, DhcpReply::Kind::ack);
    EXPECT_EQ(reply->address.to_string(), "192.168.77.20");
    EXPECT_EQ(reply->prefix_length, 24U);
    EXPECT_EQ(reply->router->to_string(), "192.168.77.1");
    EXPECT_EQ(reply->lease, 3600s);
}

TEST(DhcpReply, ReadsANak) {
    auto frame = test::dhcp_ack(guest, "0.0.0.0");
    frame.options = test::dhcp_option(53, {6});
    const auto reply = parse_dhcp_reply(frame.build(), guest);
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->kind, DhcpReply::Kind::nak);
    EXPECT_TRUE(reply->address.is_unspecified());
}

TEST(DhcpReply, OtherMessagesAndClientsAreNothing) {
    for (const auto type : std::initializer_list<std::uint8_t>{1, 2, 3, 4, 7, 8}) {
        auto frame = test::dhcp_ack(guest, "192.168.77.20");
        frame.options = test::dhcp_option(53, {type});
        EXPECT_FALSE(parse_dhcp_reply(frame.build(), guest)) << int{type};
    }
    EXPECT_FALSE(parse_dhcp_reply(test::dhcp_ack(stranger, "192.168.77.20").build(), guest));
    auto request = test::dhcp_ack(guest, "192.168.77.20");
    request.from_server = false;
    EXPECT_FALSE(parse_dhcp_reply(request.build(), guest));
    auto untyped = test::dhcp_ack(guest, "192.168.77.20");
    untyped.options.clear();
    EXPECT_FALSE(parse_dhcp_reply(untyped.build(), guest));
}

TEST(DhcpReply, AddressesThatNoHostHasAreNothing) {
    for (const auto* address : {"0.0.0.0", "127.0.0.1", "224.0.0.9", "255.255.255.255"}) {
        EXPECT_FALSE(parse_dhcp_reply(test::dhcp_ack(guest, address).build(), guest)) << address;
    }
}

TEST(DhcpReply, OptionsMayLieInFileAndSname) {
    auto frame = test::dhcp_ack(guest, "192.168.77.20");
    frame.options = test::dhcp_option(52, {3});
    frame.file = test::dhcp_option(53, {5});
    // An overload mark inside does not send us round again.
    append(frame.file, test::dhcp_option(52, {3}));
    frame.file.push_back(255);
    frame.sname = test::dhcp_option(1, {255, 255, 0, 0});
    frame.sname.push_back(255);
    const auto reply = parse_dhcp_reply(frame.build(), guest);
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->prefix_length, 16U);
    EXPECT_FALSE(reply->router);
    EXPECT_FALSE(reply->lease);
}

TEST(DhcpReply, FileAndSnameAreNotReadUnlessOverloaded) {
    auto frame = test::dhcp_ack(guest, "192.168.77.20");
    frame.options = {};
    frame.file = test::dhcp_option(53, {5});
    EXPECT_FALSE(parse_dhcp_reply(frame.build(), guest));
    frame.options = test::dhcp_option(52, {2});
    EXPECT_FALSE(parse_dhcp_reply(frame.build(), guest));
    frame.options = test::dhcp_option(52, {1});
    EXPECT_TRUE(parse_dhcp_reply(frame.build(), guest));
}

TEST(DhcpReply, OptionsOfTheWrongLengthCountForNothing) {
    auto frame = test::dhcp_ack(guest, "192.168.77.20");
    frame.options = test::dhcp_option(53, {5});
    append(frame.options, test::dhcp_option(1, {255, 255, 255}));
    append(frame.options, test::dhcp_option(3, {192, 168, 77}));
    append(frame.options, test::dhcp_option(51, {1}));
    const auto reply = parse_dhcp_reply(frame.build(), guest);
    ASSERT_TRUE(reply);
    EXPECT_FALSE(reply->prefix_length || reply->router || reply->lease);
}

TEST(DhcpReply, OddMasksAndInfiniteLeasesAreLeftOut) {
    auto frame = test::dhcp_ack(guest, "192.168.77.20");
    frame.options = test::dhcp_option(53, {5});
    append(frame.options, test::dhcp_option(1, {255, 0, 255, 0}));
    append(frame.options, test::dhcp_option(51, {255, 255, 255, 255}));
    append(frame.options, test::dhcp_option(3, {0, 0, 0, 0, 10, 0, 0, 1}));
    const auto reply = parse_dhcp_reply(frame.build(), guest);
    ASSERT_TRUE(reply);
    EXPECT_FALSE(reply->prefix_length || reply->router || reply->lease);
    auto host_route = test::dhcp_ack(guest, "192.168.77.20");
    append(host_route.options, test::dhcp_option(1, {255, 255, 255, 255}));
    EXPECT_EQ(parse_dhcp_reply(host_route.build(), guest)->prefix_length, 32U);
}

TEST(DhcpReply, IpOptionsAndPaddingAreStepped) {
    auto frame = test::dhcp_ack(guest, "192.168.77.20");
    frame.ip_options = 12;
    auto bytes = frame.build();
    bytes.resize(bytes.size() + 30, 0xaa);
    const auto reply = parse_dhcp_reply(bytes, guest);
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->address.to_string(), "192.168.77.20");
}

TEST(DhcpReply, EveryTruncationIsNothing) {
    const auto whole = test::dhcp_ack(guest, "192.168.77.20").build();
    for (std::size_t size = 0; size < whole.size(); ++size) {
        // A copy of the exact size: reading beyond it is the sanitizer's to see.
        const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
        EXPECT_FALSE(parse_dhcp_reply(cut, guest)) << size;
    }
}

TEST(DhcpReply, LengthsThatLieAreNothing) {
    const auto whole = test::dhcp_ack(guest, "192.168.77.20").build();
    const auto with = [&](std::size_t at, std::uint8_t value) {
        auto bytes = whole;
        bytes[at] = value;
        return parse_dhcp_reply(bytes, guest);
    };
    EXPECT_FALSE(with(14, 0x65)) << "IP version 6";
    EXPECT_FALSE(with(14, 0x44)) << "header of 16 bytes";
    EXPECT_FALSE(with(14, 0x4f)) << "header of 60 bytes";
    EXPECT_FALSE(with(16, 0xff)) << "total length beyond the frame";
    EXPECT_FALSE(with(16, 0x00)) << "total length too small";
    EXPECT_FALSE(with(20, 0x20)) << "more fragments";
    EXPECT_FALSE(with(21, 0x01)) << "fragment offset";
    EXPECT_TRUE(with(20, 0x40)) << "don't fragment";
    EXPECT_FALSE(with(23, 6)) << "TCP";
    EXPECT_FALSE(with(38, 0xff)) << "UDP length beyond the packet";
    EXPECT_FALSE(with(42, 1)) << "boot request";
    EXPECT_FALSE(with(43, 6)) << "not Ethernet";
    EXPECT_FALSE(with(44, 16)) << "hardware address of 16 bytes";
    EXPECT_FALSE(with(278, 0)) << "no magic cookie";
}

TEST(DhcpReply, AnOptionBeyondTheEndIsNothing) {
    auto frame = test::dhcp_ack(guest, "192.168.77.20");
    append(frame.options, {12, 250, 'x'});
    EXPECT_FALSE(parse_dhcp_reply(frame.build(), guest));
}

TEST(ArpClaim, ReadsRequestsAndAnnouncements) {
    const auto claim = [](const Bytes& frame) {
        const auto address = parse_arp_claim(frame, guest);
        return address ? address->to_string() : "none";
    };
    EXPECT_EQ(claim(test::arp_frame(guest, "10.0.0.5", "10.0.0.1")), "10.0.0.5");
    EXPECT_EQ(claim(test::arp_frame(guest, "10.0.0.5", "10.0.0.5")), "10.0.0.5");
    EXPECT_EQ(claim(test::arp_frame(guest, "10.0.0.5", "10.0.0.5", 2)), "10.0.0.5");
}

TEST(ArpClaim, ProbesRepliesAndStrangersAreNothing) {
    EXPECT_FALSE(parse_arp_claim(test::arp_frame(guest, "0.0.0.0", "10.0.0.5"), guest));
    EXPECT_FALSE(parse_arp_claim(test::arp_frame(guest, "10.0.0.5", "10.0.0.1", 2), guest));
    EXPECT_FALSE(parse_arp_claim(test::arp_frame(guest, "10.0.0.5", "10.0.0.1", 3), guest));
    EXPECT_FALSE(parse_arp_claim(test::arp_frame(stranger, "10.0.0.5", "10.0.0.1"), guest));
    EXPECT_FALSE(parse_arp_claim(test::arp_frame(guest, "127.0.0.1", "10.0.0.1"), guest));
    auto mixed = test::arp_frame(guest, "10.0.0.5", "10.0.0.1");
    mixed[27] ^= 1U;
    EXPECT_FALSE(parse_arp_claim(mixed, guest)) << "another sender inside than outside";
    auto not_ethernet = test::arp_frame(guest, "10.0.0.5", "10.0.0.1");
    not_ethernet[15] = 6;
    EXPECT_FALSE(parse_arp_claim(not_ethernet, guest));
}

TEST(ArpClaim, EveryTruncationIsNothing) {
    const auto whole = test::arp_frame(guest, "10.0.0.5", "10.0.0.1");
    for (std::size_t size = 0; size < 42; ++size) {
        const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
        EXPECT_FALSE(parse_arp_claim(cut, guest)) << size;
    }
}

TEST(NdpClaim, IsTheSourceOfASolicitationAndTheTargetOfAnAdvertisement) {
    const auto address = boost::asio::ip::make_address_v6("fd00::20");
    EXPECT_EQ(parse_ndp_claim(test::icmpv6_frame(guest, 135, "fd00::20", "fd00::1"), guest),
              address);
    EXPECT_EQ(parse_ndp_claim(test::icmpv6_frame(guest, 136, "fe80::9", "fd00::20"), guest),
              address);
}

TEST(NdpClaim, ProbesRoutersStrangersAndFarOnesAreNothing) {
    const auto nothing = [](const test::Bytes& frame) { return !parse_ndp_claim(frame, guest); };
    EXPECT_TRUE(nothing(test::icmpv6_frame(guest, 135, "::", "fd00::20"))) << "a probe";
    EXPECT_TRUE(nothing(test::icmpv6_frame(guest, 136, "fe80::9", "fe80::9"))) << "link-local";
    EXPECT_TRUE(nothing(test::icmpv6_frame(guest, 134, "fd00::20", "fd00::20"))) << "a router";
    EXPECT_TRUE(nothing(
        test::icmpv6_frame(MacAddress({0x52, 0x54, 0, 9, 9, 9}), 135, "fd00::20", "fd00::1")));
    auto far = test::icmpv6_frame(guest, 135, "fd00::20", "fd00::1");
    far[14 + 7] = 254;
    EXPECT_TRUE(nothing(far)) << "it has crossed a router";
    auto other = test::icmpv6_frame(guest, 135, "fd00::20", "fd00::1");
    other[14 + 6] = 17;
    EXPECT_TRUE(nothing(other)) << "UDP";
}

TEST(NdpClaim, EveryTruncationIsNothing) {
    const auto frame = test::icmpv6_frame(guest, 136, "fe80::9", "fd00::20");
    for (std::size_t length = 0; length < 14 + 40 + 24; ++length)
        EXPECT_FALSE(parse_ndp_claim(Frame(frame).subspan(0, length), guest)) << length;
    EXPECT_TRUE(parse_ndp_claim(Frame(frame).subspan(0, 14 + 40 + 24), guest));
}

}  // namespace
}  // namespace noxsup::netbridge
