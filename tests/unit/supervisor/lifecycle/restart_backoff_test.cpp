#include "supervisor/lifecycle/restart_backoff.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace noxsup::lifecycle {
namespace {

using spec::RestartPolicy;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;

constexpr End killed{State::failed, Reason::killed};
constexpr End powered_off{State::stopped, Reason::guest_shutdown};

/// A VM that ends so long after each start; its delays until it is given up, at most `starts`.
struct Loop {
    RestartBackoff backoff;
    RestartBackoff::Time now{};
    std::vector<long> delays;
    bool gave_up = false;

    void run(seconds length, int starts) {
        for (int i = 0; i < starts && !gave_up; ++i) {
            now += length;
            const auto verdict = backoff.on_end(RestartPolicy::on_failure, killed, now);
            gave_up = verdict.next == Next::give_up;
            if (verdict.next == Next::start) delays.push_back(verdict.delay.count());
            now += verdict.delay;
        }
    }
};

TEST(WantsRestart, ByPolicyAndEnd) {
    struct Case {
        End end;
        bool on_failure;
        bool always;
    };
    const std::vector<Case> cases{
        {{State::failed, Reason::killed}, true, true},
        {{State::failed, Reason::qemu_exit}, true, true},
        {{State::failed, Reason::oom}, true, true},
        {{State::failed, Reason::guest_panic}, true, true},
        {{State::failed, Reason::unknown}, true, true},
        {{State::stopped, Reason::unknown}, true, true},  // it ended while no supervisor ran
        {{State::stopped, Reason::guest_shutdown}, false, true},
        {{State::stopped, Reason::guest_reset}, false, true},
        {{State::stopped, Reason::user, true}, false, false},
        {{State::failed, Reason::guest_panic, true}, false, false},  // panicked, then stopped
        {{State::stopped, Reason::user}, false, false},
        {{State::stopped, Reason::host_shutdown, true}, false, false},
        {{State::stopped, Reason::host_shutdown}, false, false},
    };
    for (const auto& tried : cases) {
        const auto what = std::string(to_string(tried.end.state)) + "/" +
                          std::string(to_string(tried.end.reason));
        EXPECT_FALSE(wants_restart(RestartPolicy::no, tried.end)) << what;
        EXPECT_EQ(wants_restart(RestartPolicy::on_failure, tried.end), tried.on_failure) << what;
        EXPECT_EQ(wants_restart(RestartPolicy::always, tried.end), tried.always) << what;
    }
}

TEST(RestartBackoff, AGuestThatEndsAtOnceIsGivenUpAtItsFifthEnd) {
    Loop loop;
    loop.run(seconds(0), 1000);
    EXPECT_TRUE(loop.gave_up);
    EXPECT_THAT(loop.delays, ElementsAre(1000, 2000, 4000, 8000));
    EXPECT_EQ(loop.now.time_since_epoch(), seconds(15));
}

TEST(RestartBackoff, ItDoublesUpToAMinuteWhereRunsAreLonger) {
    Loop loop;
    loop.run(seconds(15), 10);
    EXPECT_FALSE(loop.gave_up);
    EXPECT_THAT(loop.delays,
                ElementsAre(1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000, 60000));
}

TEST(RestartBackoff, ARunOfAMinuteBeginsAnew) {
    Loop loop;
    loop.run(seconds(15), 3);
    loop.run(seconds(60), 2);
    loop.run(seconds(59), 1);
    EXPECT_THAT(loop.delays, ElementsAre(1000, 2000, 4000, 1000, 1000, 2000));
}

TEST(RestartBackoff, TheFifthEndCountsWithinAMinuteAlone) {
    RestartBackoff backoff;
    const auto end_at = [&](milliseconds when) {
        return backoff.on_end(RestartPolicy::always, powered_off, RestartBackoff::Time(when)).next;
    };
    for (const auto second : {0, 10, 20, 30}) EXPECT_EQ(end_at(seconds(second)), Next::start);
    EXPECT_EQ(end_at(seconds(60)), Next::start) << "the first one is a whole minute old";
    EXPECT_EQ(end_at(milliseconds(69'999)), Next::give_up);
}

TEST(RestartBackoff, AfterGivingUpTheCountBeginsAnew) {
    Loop loop;
    loop.run(seconds(0), 1000);
    loop.gave_up = false;
    loop.run(seconds(0), 1);
    EXPECT_FALSE(loop.gave_up);
    EXPECT_EQ(loop.delays.back(), 1000);
}

TEST(RestartBackoff, AnEndThatCallsForNothingBeginsAnew) {
    Loop loop;
    loop.run(seconds(0), 4);
    const End stopped{State::stopped, Reason::user, true};
    EXPECT_EQ(loop.backoff.on_end(RestartPolicy::on_failure, stopped, loop.now), Verdict());
    loop.run(seconds(0), 1);
    EXPECT_EQ(loop.delays.back(), 1000);
    loop.backoff.forget();
    loop.run(seconds(0), 1);
    EXPECT_EQ(loop.delays.back(), 1000);
}

TEST(RestartBackoff, WhereTheClockBeginsMakesNoDifference) {
    // It is given points of the monotonic clock; the wall clock has no say, and neither has how
    // long the host has been up.
    Loop early;
    Loop late;
    late.now += std::chrono::hours(24 * 365 * 50);
    early.run(seconds(7), 20);
    late.run(seconds(7), 20);
    EXPECT_EQ(early.delays, late.delays);
    EXPECT_EQ(early.gave_up, late.gave_up);
}

TEST(RestartBackoff, TheFiguresCanBeSet) {
    RestartBackoff backoff({milliseconds(10), milliseconds(25), milliseconds(1000), 6});
    std::vector<long> delays;
    RestartBackoff::Time now{};
    for (int i = 0; i < 5; ++i) {
        const auto verdict = backoff.on_end(RestartPolicy::on_failure, killed, now);
        delays.push_back(verdict.delay.count());
        now += verdict.delay;
    }
    EXPECT_THAT(delays, ElementsAre(10, 20, 25, 25, 25));
    EXPECT_EQ(backoff.on_end(RestartPolicy::on_failure, killed, now).next, Next::give_up);
}

}  // namespace
}  // namespace noxsup::lifecycle
