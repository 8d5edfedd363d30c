#include "netbridge/mac_address.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace noxsup::netbridge {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(MacAddress, ParsesAndFormats) {
    for (const auto* text : {"52:54:00:AB:cd:0f", "52-54-00-ab-CD-0F"}) {
        const auto mac = MacAddress::parse(text);
        ASSERT_TRUE(mac) << text;
        EXPECT_EQ(mac->to_string(), "52:54:00:ab:cd:0f");
    }
}

TEST(MacAddress, RefusesWhatIsNone) {
    for (const std::string_view text :
         {"", "52:54:00:ab:cd", "52:54:00:ab:cd:0", "52:54:00:ab:cd:0f:11", "525400abcd0f",
          "52:54:00:ab:cd-0f", "52:54:00:ab:cd:0g", "52.54.00.ab.cd.0f", " 2:54:00:ab:cd:0f",
          "+2:54:00:ab:cd:0f", "52:54:00:ab:cd:0f\n", "5:254:00:ab:cd:0f"}) {
        const auto mac = MacAddress::parse(text);
        ASSERT_FALSE(mac) << text;
        EXPECT_EQ(mac.error().code, ErrorCode::invalid_argument);
        EXPECT_THAT(mac.error().hint, HasSubstr("52:54:00"));
    }
}

TEST(MacAddress, AnErrorShowsNoControlCharacters) {
    EXPECT_THAT(MacAddress::parse("\x1b[31m").error().message, HasSubstr("\\x1b"));
}

TEST(GuestMac, IsUnicastLocallyAdministeredAndStable) {
    const std::array<std::uint8_t, 3> random{0x12, 0x34, 0xff};
    const auto mac = guest_mac(random);
    EXPECT_EQ(mac.to_string(), "52:54:00:12:34:ff");
    EXPECT_FALSE(mac.is_multicast());
    EXPECT_NE(mac.bytes()[0] & 0x02U, 0U) << "locally administered";
    EXPECT_EQ(guest_mac(random), mac);
}

TEST(GuestMac, RandomOnesDiffer) {
    std::set<MacAddress> seen;
    for (int i = 0; i < 50; ++i) {
        const auto mac = random_guest_mac();
        EXPECT_THAT(mac.to_string(), StartsWith("52:54:00:"));
        EXPECT_TRUE(parse_guest_mac(mac.to_string()));
        seen.insert(mac);
    }
    // Two equal ones among 50 of 2^24 happen once in 13,000 runs; three equal ones do not.
    EXPECT_GE(seen.size(), 49U);
}

TEST(GuestMac, RefusesWhatNoVmCanHave) {
    EXPECT_TRUE(parse_guest_mac("b8:27:eb:00:00:01"));
    EXPECT_THAT(parse_guest_mac("01:00:5e:00:00:01").error().message, HasSubstr("multicast"));
    EXPECT_THAT(parse_guest_mac("ff:ff:ff:ff:ff:ff").error().message, HasSubstr("multicast"));
    EXPECT_THAT(parse_guest_mac("00:00:00:00:00:00").error().message, HasSubstr("zeros"));
    EXPECT_THAT(parse_guest_mac("fe:54:00:00:00:01").error().message, HasSubstr("host's side"));
}

TEST(HostSideMac, IsHigherThanTheGuests) {
    const auto guest = *MacAddress::parse("52:54:00:12:34:56");
    const auto host = host_side_mac(guest);
    EXPECT_EQ(host.to_string(), "fe:54:00:12:34:56");
    EXPECT_FALSE(host.is_multicast());
    EXPECT_GT(host, guest);
}

}  // namespace
}  // namespace noxsup::netbridge
