#include "supervisor/lifecycle/machine.hpp"

#include <gtest/gtest.h>
#include <signal.h>

namespace noxsup::lifecycle {
namespace {

ExitStatus exited(int code) {
    ExitStatus status;
    status.exit_code = code;
    return status;
}

ExitStatus signalled(int number) {
    ExitStatus status;
    status.signal = number;
    return status;
}

Machine running() {
    Machine machine(State::stopped, Reason::user);
    machine.on_starting();
    machine.on_running();
    return machine;
}

void expect(const Machine& machine, State state, Reason reason) {
    EXPECT_EQ(to_string(machine.state()), to_string(state));
    EXPECT_EQ(to_string(machine.reason()), to_string(reason));
}

TEST(Machine, WordsReadBack) {
    for (const auto state : {State::creating, State::stopped, State::starting, State::running,
                             State::paused, State::stopping, State::suspended, State::unresponsive,
                             State::failed, State::damaged, State::foreign}) {
        EXPECT_EQ(*state_from_string(to_string(state)), state);
    }
    for (const auto reason :
         {Reason::none, Reason::user, Reason::guest_shutdown, Reason::guest_reset,
          Reason::guest_panic, Reason::qemu_exit, Reason::killed, Reason::oom, Reason::no_space,
          Reason::io_error, Reason::timeout, Reason::crash_loop, Reason::host_shutdown,
          Reason::unknown}) {
        EXPECT_EQ(*reason_from_string(to_string(reason)), reason);
    }
    EXPECT_FALSE(state_from_string("sleeping"));
    EXPECT_FALSE(reason_from_string("boredom"));
}

TEST(Machine, AGuestThatShutsDownIsStoppedOnlyWhenItsProcessIsGone) {
    auto machine = running();
    machine.on_cause(Reason::guest_shutdown);
    expect(machine, State::stopping, Reason::guest_shutdown);
    const auto status = exited(0);
    machine.on_exit(&status);
    expect(machine, State::stopped, Reason::guest_shutdown);
}

TEST(Machine, APauseIsTheUsersOnlyWhenHeAskedForIt) {
    auto machine = running();
    machine.on_pause_requested();
    machine.on_paused(Reason::unknown);
    expect(machine, State::paused, Reason::user);
    machine.on_running();
    machine.on_paused(Reason::unknown);
    expect(machine, State::paused, Reason::unknown);
}

TEST(Machine, APauseThatCameToNothingIsForgotten) {
    auto machine = running();
    machine.on_pause_requested();
    machine.on_pause_withdrawn();
    machine.on_paused(Reason::unknown);
    expect(machine, State::paused, Reason::unknown);
}

TEST(Machine, AFullDiskIsTheReasonThoughAPauseWasAskedFor) {
    auto machine = running();
    machine.on_pause_requested();
    machine.on_cause(Reason::no_space);
    machine.on_pause_withdrawn();
    machine.on_paused(Reason::unknown);
    expect(machine, State::paused, Reason::no_space);
}

TEST(Machine, APausedQemuThatIsKilledHasFailed) {
    auto machine = running();
    machine.on_pause_requested();
    machine.on_paused(Reason::unknown);
    const auto status = signalled(SIGKILL);
    machine.on_exit(&status);
    expect(machine, State::failed, Reason::killed);
}

TEST(Machine, AStopByTheUserIsTheReasonWhateverTheGuestSays) {
    auto machine = running();
    machine.on_stop_requested();
    expect(machine, State::stopping, Reason::user);
    machine.on_cause(Reason::guest_shutdown);
    const auto status = exited(0);
    machine.on_exit(&status);
    expect(machine, State::stopped, Reason::user);
}

TEST(Machine, AStopThatEndsByAKillIsStillTheUsers) {
    auto machine = running();
    machine.on_stop_requested();
    const auto status = signalled(SIGKILL);
    machine.on_exit(&status);
    expect(machine, State::stopped, Reason::user);
}

TEST(Machine, AHostThatShutsDownIsTheReasonUnlessTheUserAskedFirst) {
    auto machine = running();
    machine.on_stop_requested(Reason::host_shutdown);
    expect(machine, State::stopping, Reason::host_shutdown);
    machine.on_running();  // a paused guest goes on, to answer the button
    expect(machine, State::stopping, Reason::host_shutdown);
    machine.on_unresponsive();
    machine.on_responsive(true);
    expect(machine, State::stopping, Reason::host_shutdown);
    machine.on_cause(Reason::guest_shutdown);
    const auto status = exited(0);
    machine.on_exit(&status);
    expect(machine, State::stopped, Reason::host_shutdown);

    auto asked = running();
    asked.on_stop_requested();
    asked.on_stop_requested(Reason::host_shutdown);
    asked.on_exit(&status);
    expect(asked, State::stopped, Reason::user);
}

TEST(Machine, KnowsWhetherItsEndWasAskedFor) {
    const auto status = exited(0);
    auto machine = running();
    machine.on_cause(Reason::guest_panic);
    machine.on_stop_requested();
    machine.on_exit(&status);
    expect(machine, State::failed, Reason::guest_panic);
    EXPECT_TRUE(machine.ended_by_request());
    machine.on_starting();
    machine.on_running();
    machine.on_exit(&status);
    EXPECT_FALSE(machine.ended_by_request());
}

TEST(Machine, ACrashLoopIsAFailureThatAUserMayTryAgain) {
    auto machine = running();
    const auto status = signalled(SIGSEGV);
    machine.on_exit(&status);
    machine.on_crash_loop();
    expect(machine, State::failed, Reason::crash_loop);
    EXPECT_TRUE(machine.may_start());
}

TEST(Machine, AWithdrawnStopLeavesTheVmRunning) {
    auto machine = running();
    machine.on_stop_requested();
    machine.on_stop_withdrawn();
    expect(machine, State::running, Reason::none);
    const auto status = exited(0);
    machine.on_exit(&status);
    expect(machine, State::failed, Reason::qemu_exit);
}

TEST(Machine, AWithdrawnStopGivesBackWhatWas) {
    auto machine = running();
    machine.on_paused(Reason::io_error);
    machine.on_stop_requested();
    machine.on_stop_requested();
    machine.on_stop_withdrawn();
    expect(machine, State::paused, Reason::io_error);
    machine.on_stop_requested();
    machine.on_running();  // a guest must run to answer the button
    expect(machine, State::stopping, Reason::user);
    machine.on_stop_withdrawn();
    expect(machine, State::running, Reason::none);
}

TEST(Machine, AStartThatNeverHadAQemuLeavesEverythingAsItWas) {
    Machine machine(State::stopped, Reason::guest_shutdown);
    machine.on_starting();
    machine.on_start_withdrawn();
    expect(machine, State::stopped, Reason::guest_shutdown);
    EXPECT_TRUE(machine.may_start());
}

TEST(Machine, ASignalThatQemuTellsOfIsAKill) {
    auto machine = running();
    machine.on_cause(Reason::killed);
    const auto status = exited(0);
    machine.on_exit(&status);
    expect(machine, State::failed, Reason::killed);
}

TEST(Machine, AKillForWantOfMemoryIsToldUnlessSomebodyAskedForTheEnd) {
    for (const bool asked : {false, true}) {
        auto machine = running();
        if (asked) machine.on_stop_requested();
        machine.on_cause(Reason::oom);
        const auto status = signalled(SIGKILL);
        machine.on_exit(&status);
        expect(machine, asked ? State::stopped : State::failed, asked ? Reason::user : Reason::oom);
    }
}

TEST(Machine, AFakeShutdownDoesNotStopAVmThatLives) {
    auto machine = running();
    machine.on_cause(Reason::guest_shutdown);
    EXPECT_EQ(machine.state(), State::stopping);
    EXPECT_TRUE(machine.is_active());
    EXPECT_FALSE(machine.may_start());
}

TEST(Machine, DeathByASignalIsAFailure) {
    auto machine = running();
    const auto status = signalled(SIGSEGV);
    machine.on_exit(&status);
    expect(machine, State::failed, Reason::killed);
    EXPECT_TRUE(machine.may_start());
}

TEST(Machine, AnEndNobodyCanExplainIsUnknown) {
    auto machine = running();
    machine.on_exit(nullptr);
    expect(machine, State::failed, Reason::unknown);
}

TEST(Machine, APanicOutlivesTheStopThatFollowsIt) {
    auto machine = running();
    machine.on_cause(Reason::guest_panic);
    machine.on_paused(Reason::unknown);
    expect(machine, State::paused, Reason::guest_panic);
    machine.on_stop_requested();
    const auto status = exited(0);
    machine.on_exit(&status);
    expect(machine, State::failed, Reason::guest_panic);
}

TEST(Machine, AFullDiskIsTheReasonOfThePauseInEitherOrder) {
    auto before = running();
    before.on_cause(Reason::no_space);
    before.on_paused(Reason::unknown);
    expect(before, State::paused, Reason::no_space);
    auto after = running();
    after.on_paused(Reason::unknown);
    after.on_cause(Reason::no_space);
    expect(after, State::paused, Reason::no_space);
    after.on_running();
    expect(after, State::running, Reason::none);
}

TEST(Machine, UnresponsiveIsNeverStopped) {
    auto machine = running();
    machine.on_unresponsive();
    expect(machine, State::unresponsive, Reason::timeout);
    EXPECT_TRUE(machine.is_active());
    EXPECT_FALSE(machine.may_start());
    machine.on_responsive(true);
    expect(machine, State::running, Reason::none);
    machine.on_unresponsive();
    machine.on_responsive(false);
    EXPECT_EQ(machine.state(), State::paused);
}

TEST(Machine, AStoppedVmCannotBecomeUnresponsive) {
    Machine machine(State::stopped, Reason::user);
    machine.on_unresponsive();
    expect(machine, State::stopped, Reason::user);
}

TEST(Machine, AFailedStartCanBeTriedAgain) {
    Machine machine(State::stopped, Reason::user);
    machine.on_starting();
    EXPECT_FALSE(machine.may_start());
    machine.on_start_failed(Reason::qemu_exit);
    expect(machine, State::failed, Reason::qemu_exit);
    EXPECT_TRUE(machine.may_start());
}

TEST(Machine, FoundDeadTellsARebootFromAnUnwatchedEnd) {
    Machine rebooted(State::running, Reason::none);
    rebooted.on_found_dead(true);
    expect(rebooted, State::stopped, Reason::host_shutdown);
    Machine unwatched(State::running, Reason::none);
    unwatched.on_found_dead(false);
    expect(unwatched, State::stopped, Reason::unknown);
    for (const bool restarted : {false, true}) {
        for (const auto reason : {Reason::user, Reason::host_shutdown, Reason::guest_shutdown}) {
            Machine stopping(State::stopping, reason);
            stopping.on_found_dead(restarted);
            expect(stopping, State::stopped, reason);
        }
    }
}

TEST(Machine, ANewStartForgetsTheCauseOfTheOldEnd) {
    auto machine = running();
    machine.on_cause(Reason::guest_panic);
    const auto status = exited(0);
    machine.on_exit(&status);
    machine.on_starting();
    machine.on_running();
    machine.on_exit(&status);
    expect(machine, State::failed, Reason::qemu_exit);
}

}  // namespace
}  // namespace noxsup::lifecycle
