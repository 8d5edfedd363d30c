#include "netbridge/nat/firewall.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace noxsup::netbridge {
namespace {

using testing::HasSubstr;
using testing::Not;

const auto bridge = *InterfaceName::parse("noxbr0");

TEST(NatFirewall, NothingIsWrongWhereNothingDrops) {
    EXPECT_FALSE(judge_firewall({}, bridge));
}

TEST(NatFirewall, DockersIsNamedWithItsFix) {
    const auto problem = judge_firewall({{"forward", {"ip", "filter", "FORWARD"}}}, bridge);
    ASSERT_TRUE(problem);
    EXPECT_EQ(problem->id, "nat-firewall");
    EXPECT_THAT(problem->text, HasSubstr("table ip filter, chain FORWARD"));
    EXPECT_THAT(problem->text, HasSubstr("sends further"));
    EXPECT_EQ(problem->fix,
              "sudo iptables -I FORWARD -i noxbr0 -j ACCEPT && sudo iptables -I FORWARD -o noxbr0 "
              "-j ACCEPT");
}

TEST(NatFirewall, OneThatKeepsDhcpOutIsNamedWithItsFix) {
    const auto problem = judge_firewall(
        {{"input", {"ip", "filter", "INPUT"}}, {"forward", {"inet", "site", "fwd"}}}, bridge);
    ASSERT_TRUE(problem);
    EXPECT_THAT(problem->text, HasSubstr("asks this host or sends further"));
    EXPECT_THAT(problem->fix, HasSubstr("iptables -I INPUT -i noxbr0 -p udp -m multiport --dports "
                                        "53,67 -j ACCEPT"));
    EXPECT_THAT(problem->fix, HasSubstr("nft insert rule inet site fwd iifname noxbr0 accept"));
}

TEST(NatFirewall, FirewalldIsToldInItsOwnWords) {
    const auto problem = judge_firewall({{"input", {"inet", "firewalld", "filter_INPUT"}},
                                         {"forward", {"inet", "firewalld", "filter_FORWARD"}}},
                                        bridge);
    ASSERT_TRUE(problem);
    EXPECT_THAT(problem->fix, HasSubstr("firewall-cmd --permanent --zone=trusted"));
    EXPECT_THAT(problem->fix, Not(HasSubstr("nft insert")));
}

}  // namespace
}  // namespace noxsup::netbridge
