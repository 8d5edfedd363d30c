#include "netbridge/rate.hpp"

#include <gtest/gtest.h>

namespace noxsup::netbridge {
namespace {

TEST(ParseRate, UnitsAreThousands) {
    EXPECT_EQ(*parse_rate("64k"), 64'000U);
    EXPECT_EQ(*parse_rate("100M"), 100'000'000U);
    EXPECT_EQ(*parse_rate("100Mbit"), 100'000'000U);
    EXPECT_EQ(*parse_rate("100Mbit/s"), 100'000'000U);
    EXPECT_EQ(*parse_rate("2.5G"), 2'500'000'000U);
    EXPECT_EQ(*parse_rate("0.1M"), 100'000U);
    EXPECT_EQ(*parse_rate("400G"), max_rate);
}

TEST(ParseRate, AnythingElseIsNone) {
    for (const auto* text : {"", "M", "100", "100m", "63k", "401G", "-1M", "1e3M", "1M ", " 1M",
                             "1 M", "infM", "nanM", "0x10M", "1,5M", "100MB", "bit/s", "1.2.3M"}) {
        const auto rate = parse_rate(text);
        ASSERT_FALSE(rate) << text;
        EXPECT_EQ(rate.error().code, ErrorCode::invalid_argument) << text;
    }
}

}  // namespace
}  // namespace noxsup::netbridge
