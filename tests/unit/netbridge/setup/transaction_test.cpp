#include "netbridge/setup/transaction.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "netbridge/setup/watcher.hpp"
#include "supervisor/base/pidfd.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/unit/netbridge/setup/sample_plan.hpp"

namespace noxsup::netbridge::setup {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Transaction : public ::testing::Test {
  protected:
    void SetUp() override {
        ASSERT_TRUE(store.prepare());
        host.files = test::sample_files();
    }
    Result<Journal> carry(std::chrono::milliseconds timeout = 60s) {
        return carry_out(host, store, plan, timeout, [] { return Result<>(); });
    }
    [[nodiscard]] bool has_journal() const { return store.load("br0")->has_value(); }

    test::TempDir directory;
    JournalStore store{directory / "network"};
    test::FakeSetupHost host;
    Plan plan = test::sample_plan();
};

TEST_F(Transaction, CarriesOutInOrderAndIsUndone) {
    bool armed = false;
    const auto journal = carry_out(host, store, plan, 60s, [&]() -> Result<> {
        // Before the first change, with the way back on the disk.
        EXPECT_THAT(host.log, IsEmpty());
        EXPECT_EQ((*store.load("br0"))->plan, plan);
        armed = true;
        return {};
    });
    ASSERT_TRUE(journal) << journal.error().message;
    EXPECT_TRUE(armed);
    EXPECT_THAT(host.log,
                ElementsAre("ifdown eth0", "write /etc/a", "write /etc/b", "write /etc/d/c",
                            "reload", "ifup br0", "wait for eth0 on br0"));
    EXPECT_EQ((*store.load("br0"))->phase, Phase::applied);
    ASSERT_TRUE(confirm(store, ""));
    host.log.clear();
    const auto done = undo(host, store, "", false);
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_THAT(host.log, ElementsAre("ifdown br0", "remove /etc/d/c", "remove /etc/b",
                                      "write /etc/a", "ip link delete br0", "ifup eth0"));
    EXPECT_EQ(host.files, test::sample_files());
    EXPECT_FALSE(has_journal());
}

TEST_F(Transaction, WithoutAWatcherNothingIsTouched) {
    const auto journal = carry_out(host, store, plan, 60s, []() -> Result<> {
        return Error{ErrorCode::failed, "no watcher"};
    });
    EXPECT_EQ(journal.error().message, "no watcher");
    EXPECT_THAT(host.log, IsEmpty());
    EXPECT_FALSE(has_journal());
}

TEST_F(Transaction, AFailureAtAnyStepLeavesEverythingAsItWas) {
    std::size_t failures = 0;
    for (std::size_t step = 1; step <= 7; ++step) {
        test::FakeSetupHost fresh;
        fresh.files = test::sample_files();
        fresh.fail_at = step;
        const auto journal = carry_out(fresh, store, plan, 60s, [] { return Result<>(); });
        constexpr std::size_t reload = 5;  // which may fail
        ASSERT_EQ(journal.has_value(), step == reload) << step;
        if (journal) {
            ASSERT_TRUE(undo(fresh, store, "", false));
        } else {
            ++failures;
            EXPECT_THAT(journal.error().message, HasSubstr("failed"));
        }
        EXPECT_EQ(fresh.files, test::sample_files()) << step;
        EXPECT_EQ(fresh.log.back(), "ifup eth0") << step;
        EXPECT_FALSE(has_journal()) << step;
    }
    EXPECT_EQ(failures, 6U);
}

TEST_F(Transaction, AKillAtAnyStepIsPutRightAtTheNextBoot) {
    for (std::size_t step = 1; step <= 7; ++step) {
        for (const bool booting : {true, false}) {
            test::FakeSetupHost fresh;
            fresh.files = test::sample_files();
            fresh.kill_at = step;
            EXPECT_THROW((void)carry_out(fresh, store, plan, 60s, [] { return Result<>(); }),
                         test::Killed);
            auto journal = **store.load("br0");
            journal.boot_id = "another boot";
            ASSERT_TRUE(store.save(journal));
            fresh.kill_at = 0;
            fresh.log.clear();
            const auto recovered = recover(fresh, store, booting);
            ASSERT_TRUE(recovered);
            EXPECT_THAT(recovered->bridges, ElementsAre("br0"));
            EXPECT_EQ(fresh.files, test::sample_files()) << step;
            EXPECT_FALSE(has_journal());
            // Before the managers run there is nobody to tell.
            EXPECT_EQ(std::ranges::count(fresh.log, "ifup eth0"), booting ? 0 : 1);
        }
    }
}

TEST_F(Transaction, AKillOnTheWayBackIsPutRightAsWell) {
    for (std::size_t step = 1; step <= 6; ++step) {
        test::FakeSetupHost fresh;
        fresh.files = test::sample_files();
        ASSERT_TRUE(carry_out(fresh, store, plan, 60s, [] { return Result<>(); }));
        ASSERT_TRUE(confirm(store, "br0"));
        fresh.kill_at = 7 + step;
        EXPECT_THROW((void)undo(fresh, store, "br0", false), test::Killed);
        EXPECT_TRUE(store.has_pending());
        const auto recovered = recover(fresh, store, false);
        ASSERT_TRUE(recovered);
        EXPECT_EQ(fresh.files, test::sample_files()) << step;
        EXPECT_FALSE(has_journal());
    }
}

TEST_F(Transaction, AFileThatCannotBePutBackLeavesTheJournal) {
    ASSERT_TRUE(carry());
    host.fail_at = 7 + 2;
    EXPECT_FALSE(undo(host, store, "br0", false));
    EXPECT_TRUE(has_journal());
    // The others are back all the same, and the manager has been told.
    EXPECT_EQ(host.files.at("/etc/a"), test::sample_files().at("/etc/a"));
    EXPECT_EQ(host.log.back(), "ifup eth0");
    ASSERT_TRUE(undo(host, store, "br0", false));
    EXPECT_EQ(host.files, test::sample_files());
}

TEST_F(Transaction, AManagersFailureOnTheWayBackIsTold) {
    ASSERT_TRUE(carry());
    host.fail_at = 7 + 6;
    const auto done = undo(host, store, "", false);
    ASSERT_TRUE(done);
    EXPECT_THAT(done->second.problems, ElementsAre("ifup eth0: ifup eth0 failed"));
    EXPECT_EQ(host.files, test::sample_files());
}

TEST_F(Transaction, ConfirmNeedsSomethingPendingOfThisBoot) {
    EXPECT_EQ(confirm(store, "").error().code, ErrorCode::wrong_state);
    ASSERT_TRUE(carry());
    EXPECT_FALSE(confirm(store, "br7"));
    auto journal = **store.load("br0");
    journal.phase = Phase::applying;
    ASSERT_TRUE(store.save(journal));
    EXPECT_FALSE(confirm(store, ""));
    journal.phase = Phase::applied;
    journal.boot_id = "another boot";
    ASSERT_TRUE(store.save(journal));
    EXPECT_FALSE(confirm(store, ""));
    EXPECT_TRUE(store.has_pending());
}

TEST_F(Transaction, AChangedFileIsNotLostWithoutForce) {
    ASSERT_TRUE(carry());
    ASSERT_TRUE(confirm(store, ""));
    host.files["/etc/a"].bytes += "\nthe user's";
    const auto refused = undo(host, store, "", false);
    EXPECT_THAT(refused.error().message, HasSubstr("/etc/a was changed"));
    EXPECT_TRUE((*store.load("br0"))->confirmed);
    ASSERT_TRUE(undo(host, store, "", true));
    EXPECT_EQ(host.files, test::sample_files());
}

TEST_F(Transaction, RecoverLeavesWhatCanStillBeConfirmed) {
    ASSERT_TRUE(carry());
    EXPECT_THAT(recover(host, store, false)->bridges, IsEmpty());
    EXPECT_TRUE(has_journal());
    ASSERT_TRUE(confirm(store, ""));
    EXPECT_THAT(recover(host, store, true)->bridges, IsEmpty());
    EXPECT_TRUE(has_journal());
}

TEST_F(Transaction, RecoverTellsOfADamagedJournalAndGoesOn) {
    ASSERT_TRUE(carry(0ms));
    std::this_thread::sleep_for(5ms);
    (void)directory.write("network/a0.pending", "torn");
    const auto recovered = recover(host, store, false);
    ASSERT_TRUE(recovered);
    EXPECT_THAT(recovered->bridges, ElementsAre("br0"));
    EXPECT_THAT(recovered->problems, ElementsAre(HasSubstr("a0.pending")));
}

TEST_F(Transaction, TheWatcherTakesBackWhatNobodyConfirms) {
    ASSERT_TRUE(carry(700ms));
    auto pidfd = open_pidfd(::getpid());
    ASSERT_TRUE(watch(host, store, "br0", std::move(*pidfd), UniqueFd()));
    EXPECT_EQ(host.files, test::sample_files());
    EXPECT_FALSE(has_journal());
}

TEST_F(Transaction, TheWatcherLeavesWhatIsConfirmed) {
    ASSERT_TRUE(carry(60s));
    auto pidfd = open_pidfd(::getpid());
    std::thread user([this] {
        std::this_thread::sleep_for(100ms);
        EXPECT_TRUE(confirm(store, ""));
    });
    EXPECT_TRUE(watch(host, store, "br0", std::move(*pidfd), UniqueFd()));
    user.join();
    EXPECT_EQ(host.files.at("/etc/b").bytes, "new b");
}

TEST_F(Transaction, TheWatcherTakesBackAtOnceWhatItsMakerDiedOf) {
    host.kill_at = 4;
    EXPECT_THROW((void)carry(), test::Killed);
    const auto child = ::fork();
    if (child == 0) ::_exit(0);
    auto pidfd = open_pidfd(child);
    ASSERT_TRUE(pidfd);
    host.kill_at = 0;
    EXPECT_TRUE(watch(host, store, "br0", std::move(*pidfd), UniqueFd()));
    ::waitpid(child, nullptr, 0);
    EXPECT_EQ(host.files, test::sample_files());
}

TEST_F(Transaction, TheWatcherEndsAMakerThatHangs) {
    host.kill_at = 4;
    EXPECT_THROW((void)carry(), test::Killed);
    host.kill_at = 0;
    auto journal = **store.load("br0");
    journal.deadline = boot_time_now();
    ASSERT_TRUE(store.save(journal));
    const auto child = ::fork();
    if (child == 0) {
        for (;;) ::pause();
    }
    auto pidfd = open_pidfd(child);
    EXPECT_TRUE(watch(host, store, "br0", std::move(*pidfd), UniqueFd()));
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(host.files, test::sample_files());
}

}  // namespace
}  // namespace noxsup::netbridge::setup
