#include "supervisor/daemon/host_shutdown.hpp"

#include <gtest/gtest.h>

namespace noxsup::daemon {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

milliseconds sum(const vm::StopLimits& limits) {
    return limits.button + limits.quit + limits.terminate + limits.kill;
}

TEST(HostShutdown, TheButtonHasAllButTheLastSeconds) {
    const auto limits = limits_within(seconds(85));
    EXPECT_EQ(limits.button, seconds(69));
    EXPECT_EQ(limits.quit, seconds(10));
    EXPECT_EQ(limits.terminate, seconds(5));
    EXPECT_EQ(limits.kill, seconds(1));
}

TEST(HostShutdown, NoStopTakesLongerThanItMay) {
    for (int whole = 0; whole < 200'000; whole += 7) {
        const auto limits = limits_within(milliseconds(whole));
        ASSERT_EQ(sum(limits), milliseconds(whole));
        for (const auto part : {limits.button, limits.quit, limits.terminate, limits.kill})
            ASSERT_GE(part, milliseconds(0));
        ASSERT_GE(limits.button, milliseconds(whole) / 2);
    }
}

TEST(HostShutdown, AGroupGetsItsShareOrWhatIsComfortable) {
    EXPECT_EQ(share_of(seconds(120), 1), seconds(120));
    EXPECT_EQ(share_of(seconds(120), 2), seconds(60));
    EXPECT_EQ(share_of(seconds(120), 20), seconds(30));
    EXPECT_EQ(share_of(seconds(20), 20), seconds(10));
    EXPECT_EQ(share_of(seconds(-1), 3), seconds(0));
    EXPECT_EQ(share_of(seconds(10), 0), seconds(10));
}

TEST(HostShutdown, GroupsThatUseAllOfTheirSharesStillEndInTime) {
    for (const std::size_t groups : {1U, 2U, 3U, 7U, 20U, 100U}) {
        auto left = milliseconds(85'000);
        for (auto remaining = groups; remaining > 0; --remaining) left -= share_of(left, remaining);
        EXPECT_GE(left, milliseconds(0)) << groups;
    }
}

}  // namespace
}  // namespace noxsup::daemon
