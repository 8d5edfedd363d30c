#include "netbridge/nat/rules.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/golden.hpp"

namespace noxsup::netbridge {
namespace {

using testing::HasSubstr;
using testing::Not;

NatRules rules() {
    return {*InterfaceName::parse("noxbr0"), *NatSubnet::parse("10.213.77.0/24")};
}

TEST(NatRules, AreTheseOnAHostThatForwardedBefore) {
    test::expect_golden(nat_rules(rules()), "nft/nat-plain.nft");
}

TEST(NatRules, AreTheseWithPublishedPortsOnAHostThatIsNoRouter) {
    auto wanted = rules();
    wanted.guarded = {"eth0", "wg0"};
    const auto guest = wanted.subnet.host(2);
    wanted.forwards = {{*parse_publish("0.0.0.0:8080:80"), guest},
                       {*parse_publish("192.168.1.20:5353:53/udp"), guest}};
    test::expect_golden(nat_rules(wanted), "nft/nat-published.nft");
}

TEST(NatRules, ForwardWhatIsPublishedBeyondLoopback) {
    EXPECT_TRUE(is_forwarded(*parse_publish("0.0.0.0:8080:80")));
    EXPECT_TRUE(is_forwarded(*parse_publish("192.168.1.20:5353:53/udp")));
    EXPECT_FALSE(is_forwarded(*parse_publish("8080:80")));
    EXPECT_FALSE(is_forwarded(*parse_publish("127.0.0.2:8080:80")));
}

TEST(NatRules, GoWithoutFailingWhereThereAreNone) {
    EXPECT_EQ(nat_removal(), "add table ip noxsup_nat\ndelete table ip noxsup_nat\n");
    EXPECT_THAT(nat_rules(rules()), testing::StartsWith(nat_removal()));
}

}  // namespace
}  // namespace noxsup::netbridge
