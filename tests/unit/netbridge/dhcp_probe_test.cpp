#include "netbridge/dhcp_probe.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "netbridge/packets.hpp"
#include "tests/support/packet_builder.hpp"

namespace noxsup::netbridge {
namespace {

const MacAddress client({0x52, 0x54, 0, 1, 2, 3});

test::DhcpFrame offer() {
    auto frame = test::dhcp_ack(client, "192.168.1.30");
    frame.options = test::dhcp_option(53, {2});
    const auto server = test::dhcp_option(54, {192, 168, 1, 1});
    frame.options.insert(frame.options.end(), server.begin(), server.end());
    return frame;
}

TEST(DhcpDiscover, IsWhatAClientSends) {
    const auto frame = dhcp_discover(client, 0xdeadbeef);
    test::DhcpFrame same;
    same.source = client;
    same.client = client;
    same.from_server = false;
    same.transaction = 0xdeadbeef;
    same.options = test::dhcp_option(53, {1});
    const auto wanted = test::dhcp_option(55, {1, 3});
    same.options.insert(same.options.end(), wanted.begin(), wanted.end());
    const auto expected = same.build();
    ASSERT_GE(frame.size(), 342U);
    // From BOOTP's operation to the end mark of the options, but for the broadcast flag.
    constexpr std::size_t bootp = 42, flags = bootp + 10;
    EXPECT_EQ(frame[flags], 0x80);
    for (std::size_t at = bootp; at < expected.size() && at < frame.size(); ++at) {
        if (at == flags) continue;
        EXPECT_EQ(frame[at], expected[at]) << at;
    }
    std::uint32_t sum = 0;
    for (std::size_t at = 14; at < 34; at += 2)
        sum += static_cast<std::uint32_t>(frame[at] << 8U | frame[at + 1]);
    EXPECT_EQ((sum & 0xffffU) + (sum >> 16U), 0xffffU) << "the header's checksum";
    EXPECT_EQ(frame[16] << 8 | frame[17], static_cast<int>(frame.size() - 14));
}

TEST(DhcpOffer, NamesItsServer) {
    EXPECT_EQ(parse_dhcp_offer(offer().build(), client), *parse_ip("192.168.1.1"));
    EXPECT_FALSE(parse_dhcp_reply(offer().build(), client)) << "nothing was granted yet";
}

TEST(DhcpOffer, OtherMessagesAreNothing) {
    const MacAddress other({0x52, 0x54, 0, 1, 2, 4});
    EXPECT_FALSE(parse_dhcp_offer(offer().build(), other));
    EXPECT_FALSE(parse_dhcp_offer(test::dhcp_ack(client, "192.168.1.30").build(), client));
    auto nameless = offer();
    nameless.options = test::dhcp_option(53, {2});
    EXPECT_FALSE(parse_dhcp_offer(nameless.build(), client));
    auto empty = offer();
    empty.your_address = "0.0.0.0";
    EXPECT_FALSE(parse_dhcp_offer(empty.build(), client));
    const auto whole = offer().build();
    // The last byte is padding or the end mark.
    for (std::size_t size = 0; size + 1 < 290; ++size)
        EXPECT_FALSE(parse_dhcp_offer(Frame(whole).first(size), client)) << size;
}

}  // namespace
}  // namespace noxsup::netbridge
