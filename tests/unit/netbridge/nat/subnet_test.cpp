#include "netbridge/nat/subnet.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace noxsup::netbridge {
namespace {

using testing::HasSubstr;

IpCidr cidr(const std::string& text) {
    const auto slash = text.find('/');
    return {*parse_ip(text.substr(0, slash)),
            static_cast<unsigned>(std::stoul(text.substr(slash + 1)))};
}

NatSubnet subnet(std::string_view text) {
    return *NatSubnet::parse(text);
}

TEST(NatSubnet, HasItsAddressesWhereTheyAreKept) {
    const auto ours = subnet("10.213.77.0/24");
    EXPECT_EQ(ours.gateway_cidr().to_string(), "10.213.77.1/24");
    EXPECT_EQ(ours.host(42).to_string(), "10.213.77.42");
    EXPECT_TRUE(ours.contains(*parse_ip("10.213.77.255")));
    EXPECT_FALSE(ours.contains(*parse_ip("10.213.78.1")));
    EXPECT_FALSE(ours.contains(*parse_ip("fe80::1")));
    EXPECT_EQ(NatSubnet(Ipv4Address({192, 168, 5, 9})).to_string(), "192.168.5.0/24");
}

TEST(NatSubnet, IsReadBackAsItWasWritten) {
    for (const auto& candidate : nat_candidates())
        EXPECT_EQ(subnet(candidate.to_string()), candidate) << "they are private, too";
    for (const auto* text : {"", "10.213.77.0", "10.213.77.1/24", "10.213.77.0/16", "8.8.8.0/24",
                             "172.32.0.0/24", "fd00::/24", "10.213.77.0/24 "}) {
        EXPECT_EQ(NatSubnet::parse(text).error().code, ErrorCode::invalid_argument) << text;
    }
}

TEST(NatSubnet, OverlapsWhatHoldsOneOfItsAddresses) {
    const auto ours = cidr("10.213.77.1/24");
    for (const auto* text : {"10.213.77.9/32", "10.213.77.128/25", "10.213.77.0/24",
                             "10.213.0.0/16", "10.0.0.0/8", "10.213.77.200/30"}) {
        EXPECT_TRUE(overlaps(ours, cidr(text))) << text;
        EXPECT_TRUE(overlaps(cidr(text), ours)) << text;
    }
    for (const auto* text : {"10.213.78.0/24", "10.212.0.0/16", "192.168.0.0/16", "::/0"}) {
        EXPECT_FALSE(overlaps(ours, cidr(text))) << text;
        EXPECT_FALSE(overlaps(cidr(text), ours)) << text;
    }
}

TEST(ChooseNatSubnet, TakesTheFirstThatIsFree) {
    const auto first = choose_nat_subnet(std::nullopt, {cidr("192.168.1.20/24")});
    ASSERT_TRUE(first);
    EXPECT_EQ(first->subnet, nat_candidates()[0]);
    EXPECT_EQ(first->moved, "");
    const auto second = choose_nat_subnet(std::nullopt, {cidr("10.213.0.0/16")});
    EXPECT_EQ(second->subnet, nat_candidates()[1]);
    const auto beside_a_vpn = choose_nat_subnet(std::nullopt, {cidr("10.0.0.0/8")});
    EXPECT_EQ(beside_a_vpn->subnet.to_string(), "192.168.213.0/24");
}

TEST(ChooseNatSubnet, StaysWhereItIsAndMovesOnlyFromWhatTheHostHas) {
    const auto before = subnet("172.22.177.0/24");
    EXPECT_EQ(choose_nat_subnet(before, {cidr("10.0.0.0/8")})->subnet, before);
    const auto own = subnet("10.99.1.0/24");
    EXPECT_EQ(choose_nat_subnet(own, {})->subnet, own) << "that of an older list";
    const auto moved = choose_nat_subnet(before, {cidr("172.16.0.0/12")});
    ASSERT_TRUE(moved);
    EXPECT_EQ(moved->subnet, nat_candidates()[0]);
    EXPECT_THAT(moved->moved, HasSubstr("172.16.0.0/12"));
    EXPECT_THAT(moved->moved, HasSubstr("172.22.177.0/24"));
}

TEST(ChooseNatSubnet, SaysWhatIsInTheWayOfAll) {
    const auto none = choose_nat_subnet(
        std::nullopt, {cidr("10.0.0.0/8"), cidr("172.16.0.0/12"), cidr("192.168.0.0/16")});
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, ErrorCode::address_taken);
    EXPECT_THAT(none.error().message, HasSubstr("192.168.213.0/24 (overlaps 192.168.0.0/16)"));
}

}  // namespace
}  // namespace noxsup::netbridge
