#include "netbridge/address_probe.hpp"

#include <gtest/gtest.h>

#include "tests/support/packet_builder.hpp"

namespace noxsup::netbridge {
namespace {

const MacAddress host({0x02, 0, 0, 0, 0, 1});
const MacAddress owner({0x52, 0x54, 0, 1, 2, 3});
const Ipv4Address wanted = boost::asio::ip::make_address_v4("192.168.1.20");

TEST(ArpProbe, AsksEveryoneFromNoAddress) {
    const auto frame = arp_probe(host, wanted);
    auto expected = test::arp_frame(host, "0.0.0.0", "192.168.1.20");
    expected.resize(frame.size());
    EXPECT_EQ(test::Bytes(frame.begin(), frame.end()), expected);
}

TEST(ArpOwner, IsTheSenderOfARequestOrAReply) {
    EXPECT_EQ(parse_arp_owner(test::arp_frame(owner, "192.168.1.20", "192.168.1.1"), wanted),
              owner);
    EXPECT_EQ(parse_arp_owner(test::arp_frame(owner, "192.168.1.20", "192.168.1.1", 2), wanted),
              owner);
}

TEST(ArpOwner, NothingElseTells) {
    const auto good = test::arp_frame(owner, "192.168.1.20", "192.168.1.1", 2);
    EXPECT_FALSE(parse_arp_owner(test::arp_frame(owner, "192.168.1.21", "192.168.1.20"), wanted));
    EXPECT_FALSE(parse_arp_owner(test::arp_frame(owner, "0.0.0.0", "192.168.1.20"), wanted));
    EXPECT_FALSE(parse_arp_owner(test::arp_frame(owner, "192.168.1.20", "192.168.1.1", 3), wanted));
    EXPECT_FALSE(
        parse_arp_owner(test::arp_frame(MacAddress(), "192.168.1.20", "192.168.1.1"), wanted));
    for (std::size_t length = 0; length < arp_frame_size; ++length)
        EXPECT_FALSE(parse_arp_owner(Frame(good).subspan(0, length), wanted)) << length;
    // Each byte of the fixed part counts.
    for (std::size_t at = 12; at < 20; ++at) {
        auto wrong = good;
        wrong[at] ^= 0x40U;
        EXPECT_FALSE(parse_arp_owner(wrong, wanted)) << at;
    }
}

}  // namespace
}  // namespace noxsup::netbridge
