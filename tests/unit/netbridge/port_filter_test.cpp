#include "netbridge/port_filter.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace noxsup::netbridge {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

PortFilter filter() {
    return {*InterfaceName::parse("nx0123456789ab"), MacAddress({0x52, 0x54, 0, 1, 2, 3})};
}

IpAddress ip(const char* text) {
    return *parse_ip(text);
}

TEST(PortFilter, TakesThePlaceOfAnOlderTableInOneTransaction) {
    EXPECT_EQ(filter_table(filter().tap), "noxsup_nx0123456789ab");
    EXPECT_EQ(filter_removal("noxsup_nx1"),
              "add table bridge noxsup_nx1\ndelete table bridge noxsup_nx1\n");
    EXPECT_THAT(filter_rules(filter()), StartsWith("add table bridge noxsup_nx0123456789ab\n"
                                                   "delete table bridge noxsup_nx0123456789ab\n"
                                                   "table bridge noxsup_nx0123456789ab {\n"));
}

TEST(PortFilter, LearnsLeasesFromRepliesToTheGuestsMac) {
    const auto rules = filter_rules(filter());
    EXPECT_THAT(rules, HasSubstr("set addresses { typeof @nh,96,32; flags dynamic; size 256; }"));
    EXPECT_THAT(rules, HasSubstr("oifname \"nx0123456789ab\" udp sport 67 udp dport 68 @th,64,8 2 "
                                 "@th,288,48 0x525400010203 add @addresses { @th,192,32 }"));
    EXPECT_THAT(rules, Not(HasSubstr("isolated")));
    EXPECT_THAT(rules, Not(HasSubstr("ip6 saddr")));
}

TEST(PortFilter, AFixedAddressIsTheOnlyOne) {
    auto wanted = filter();
    wanted.fixed = {ip("192.168.1.20"), ip("fd00::20")};
    const auto rules = filter_rules(wanted);
    EXPECT_THAT(rules, HasSubstr("set addresses { typeof @nh,96,32; elements = { 0xc0a80114 }; }"));
    EXPECT_THAT(rules, HasSubstr("ip6 saddr { ::, fe80::/10, fd00::20 } accept"));
    EXPECT_THAT(rules, Not(HasSubstr("dynamic")));
    EXPECT_THAT(rules, Not(HasSubstr("postrouting")));
}

TEST(PortFilter, OneOfIpv6AloneHasNoIpv4) {
    auto wanted = filter();
    wanted.fixed = {ip("fd00::20")};
    EXPECT_THAT(filter_rules(wanted), HasSubstr("set addresses { typeof @nh,96,32; }"));
}

TEST(PortFilter, TheRateCountsBothWaysAndBeforeAnyFrameIsAccepted) {
    auto wanted = filter();
    wanted.rate = 100'000'000;
    const auto rules = filter_rules(wanted);
    const std::string words =
        "limit rate over 12500000 bytes/second burst 1250000 bytes counter drop";
    EXPECT_THAT(rules, HasSubstr("iifname \"nx0123456789ab\" " + words));
    EXPECT_THAT(rules, HasSubstr("oifname \"nx0123456789ab\" " + words));
    EXPECT_LT(rules.find("iifname \"nx0123456789ab\" limit"), rules.find("jump from_guest"));
    wanted.rate = 64'000;
    EXPECT_THAT(filter_rules(wanted), HasSubstr("over 8000 bytes/second burst 262144 bytes"));
    wanted.check_source = false;
    EXPECT_TRUE(wanted.any());
    EXPECT_THAT(filter_rules(wanted), Not(HasSubstr("addresses")));
}

TEST(PortFilter, IsolationStandsAlone) {
    auto wanted = filter();
    wanted.check_source = false;
    EXPECT_FALSE(wanted.any());
    wanted.isolated = true;
    EXPECT_TRUE(wanted.any());
    const auto rules = filter_rules(wanted);
    EXPECT_THAT(rules, HasSubstr("iifname \"nx0123456789ab\" oifname \"nx*\" counter drop"));
    EXPECT_THAT(rules, HasSubstr("oifname \"nx0123456789ab\" iifname \"nx*\" counter drop"));
    EXPECT_THAT(rules, Not(HasSubstr("from_guest")));
}

}  // namespace
}  // namespace noxsup::netbridge
