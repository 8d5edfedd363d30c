#include "supervisor/base/random.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace noxsup {
namespace {

TEST(RandomUuid, IsVersion4AndNeverTheSame) {
    const auto first = random_uuid();
    EXPECT_THAT(first,
                testing::ContainsRegex(
                    "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"));
    EXPECT_NE(first, random_uuid());
}

TEST(RandomHex, HasTwoDigitsAByte) {
    EXPECT_THAT(random_hex(5), testing::ContainsRegex("^[0-9a-f]{10}$"));
}

}  // namespace
}  // namespace noxsup
