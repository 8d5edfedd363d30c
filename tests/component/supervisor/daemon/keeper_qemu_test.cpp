// Restarts and the host's shutdown with real QEMUs, whose guest halts its processor at once and so
// hears no power button.
#include <signal.h>

#include <thread>

#include "supervisor/daemon/host_shutdown.hpp"
#include "supervisor/launch/life_lock.hpp"
#include "tests/component/supervisor/daemon/keeper_qemu_fixture.hpp"

namespace noxsup::daemon {
namespace {

using lifecycle::Reason;
using lifecycle::State;
using spec::RestartPolicy;
using std::chrono::milliseconds;
using std::chrono::seconds;

class KeeperQemuTest : public test::KeeperQemu {
  protected:
    KeeperQemuTest() {
        run_command({"qemu-img", "create", "-q", "-f", "qcow2", (dir_ / "disk").string(), "1M"});
    }
    ~KeeperQemuTest() override {
        for (const auto& vm : registry_->all()) stop(vm->spec().name);
    }

    void make_guest(const std::string& name, int number, RestartPolicy restart,
                    unsigned order = 100) {
        make_idle_vm(name, number, [=](state::VmRecord& record) {
            record.spec.autostart.order = order;
            record.spec.restart = restart;
        });
        std::filesystem::copy_file(dir_ / "disk", home_.vm(name) / "disk.qcow2");
    }
    Result<> start(const std::string& name) {
        vm::Stages stages;
        keeper_->withdraw(*vm(name));
        return completed(vm(name)->start(stages));
    }
    Result<vm::StopMethod> stop(const std::string& name) {
        keeper_->withdraw(*vm(name));
        return completed(vm(name)->stop(true, {}));
    }
    pid_t pid(const std::string& name) {
        const auto pid = vm(name)->to_json()["pid"];
        return pid.is_null() ? -1 : pid.get<pid_t>();
    }
    /// SIGKILL to its QEMU, which is a child of ours and not reaped before the end is seen.
    void kill_qemu(const std::string& name) {
        const auto victim = pid(name);
        ASSERT_GT(victim, 1);
        ASSERT_EQ(::kill(victim, SIGKILL), 0);
        ASSERT_TRUE(runs_until([&] { return pid(name) != victim; }));
    }
};

TEST_F(KeeperQemuTest, AKilledQemuIsStartedAgainUnderOnFailureAlone) {
    make_guest("kept", 1, RestartPolicy::on_failure);
    make_guest("left", 2, RestartPolicy::no);
    begin_supervisor();
    ASSERT_TRUE(start("kept"));
    ASSERT_TRUE(start("left"));
    const auto first = pid("kept");
    kill_qemu("left");
    kill_qemu("kept");
    ASSERT_TRUE(runs_until([this] { return state("kept") == "running/"; }));
    EXPECT_NE(pid("kept"), first);
    EXPECT_FALSE(stored("kept").restart_pending);
    EXPECT_EQ(state("left"), "failed/killed");

    ASSERT_TRUE(stop("kept"));
    run_for(milliseconds(200));
    EXPECT_EQ(state("kept"), "stopped/user") << "what the user has stopped stays so";
}

TEST_F(KeeperQemuTest, AStopDuringTheBackOffEndsIt) {
    limits_.first = seconds(30);
    make_guest("kept", 1, RestartPolicy::always);
    begin_supervisor();
    ASSERT_TRUE(start("kept"));
    kill_qemu("kept");
    EXPECT_TRUE(vm("kept")->restart_pending());
    EXPECT_TRUE(stored("kept").restart_pending) << "the next supervisor has to know";
    EXPECT_EQ(*stop("kept"), vm::StopMethod::was_stopped);
    EXPECT_FALSE(stored("kept").restart_pending);
    context_.restart();
    context_.run_for(milliseconds(50));
    EXPECT_TRUE(context_.stopped()) << "nothing is to come, so nothing is waited for";
    ASSERT_TRUE(start("kept"));
}

TEST_F(KeeperQemuTest, ACrashLoopIsGivenUpAndAStartBeginsAnew) {
    make_guest("kept", 1, RestartPolicy::on_failure);
    begin_supervisor();
    ASSERT_TRUE(start("kept"));
    for (int ends = 1; ends <= 5; ++ends) {
        ASSERT_TRUE(runs_until([this] { return state("kept") == "running/"; })) << ends;
        kill_qemu("kept");
    }
    EXPECT_EQ(state("kept"), "failed/crash-loop");
    EXPECT_EQ(stored("kept").reason, Reason::crash_loop);
    run_for(milliseconds(200));
    EXPECT_EQ(asked_.size(), 5U);
    ASSERT_TRUE(start("kept"));
    kill_qemu("kept");
    ASSERT_TRUE(runs_until([this] { return state("kept") == "running/"; }));
}

TEST_F(KeeperQemuTest, WhatWaitsForItsRestartIsStartedByTheNextSupervisor) {
    limits_.first = seconds(30);
    make_guest("kept", 1, RestartPolicy::on_failure);
    begin_supervisor();
    ASSERT_TRUE(start("kept"));
    kill_qemu("kept");
    end_supervisor();
    limits_ = test::quick_limits;
    begin_supervisor();
    ASSERT_TRUE(runs_until([this] { return state("kept") == "running/"; }));

    end_supervisor();
    const auto running = stored("kept").qemu;
    ASSERT_TRUE(running);
    ASSERT_EQ(::kill(running->pid, SIGKILL), 0);
    // Whether the next one still finds it dying is a matter of luck; here it does not.
    const auto lock = home_.vm("kept") / "lock";
    while (*launch::life_lock_held(lock)) std::this_thread::sleep_for(milliseconds(5));
    begin_supervisor();
    ASSERT_TRUE(runs_until([&] { return pid("kept") > 1 && pid("kept") != running->pid; }))
        << "and so is one whose QEMU died while none ran: " << state("kept") << " "
        << vm("kept")->to_json().dump();
}

TEST_F(KeeperQemuTest, AStopThatASupervisorDidNotSeeTheEndOfIsStillTheUsers) {
    make_guest("kept", 1, RestartPolicy::always);
    begin_supervisor();
    ASSERT_TRUE(start("kept"));
    vm::StopLimits patient;
    boost::asio::cancellation_signal withdraw;
    boost::asio::co_spawn(
        context_, vm("kept")->stop(false, patient),
        boost::asio::bind_cancellation_slot(
            withdraw.slot(), [](const std::exception_ptr&, const Result<vm::StopMethod>&) {}));
    ASSERT_TRUE(runs_until([this] { return state("kept") == "stopping/user"; }));
    EXPECT_EQ(stored("kept").state, State::stopping);
    EXPECT_EQ(stored("kept").reason, Reason::user);
    withdraw.emit(boost::asio::cancellation_type::terminal);
    ASSERT_TRUE(runs_until([this] { return state("kept") == "running/"; }));
    EXPECT_EQ(stored("kept").state, State::running) << "a stop that was withdrawn is none";
}

TEST_F(KeeperQemuTest, AHostThatShutsDownStopsAllInTimeInReverse) {
    make_guest("first", 1, RestartPolicy::always, 1);
    make_guest("a", 2, RestartPolicy::always, 2);
    make_guest("b", 3, RestartPolicy::on_failure, 2);
    make_guest("waiting", 4, RestartPolicy::always, 3);
    limits_.first = seconds(30);
    begin_supervisor();
    for (const auto* name : {"first", "a", "b", "waiting"}) ASSERT_TRUE(start(name));
    kill_qemu("waiting");
    keeper_->suspend();
    std::vector<std::string> ended;
    auto stopping = [this, &ended]() -> boost::asio::awaitable<Result<>> {
        const auto note = [&ended](const GuestStop& stop) { ended.push_back(stop.name); };
        auto all = stop_guests(context_.get_executor(), registry_->all(), seconds(12), note);
        const auto stopped = co_await std::move(all);
        for (const auto& stop : stopped) {
            if (!stop.outcome) co_return stop.outcome.error();
        }
        co_return Result<>();
    };
    const auto begun = std::chrono::steady_clock::now();
    const auto outcome = completed(stopping());
    ASSERT_TRUE(outcome) << outcome.error().message;
    EXPECT_LT(std::chrono::steady_clock::now() - begun, seconds(12));
    ASSERT_EQ(ended.size(), 3U);
    EXPECT_EQ(ended.back(), "first");
    for (const auto* name : {"first", "a", "b", "waiting"}) {
        EXPECT_EQ(state(name), "stopped/host-shutdown") << name;
        EXPECT_EQ(stored(name).reason, Reason::host_shutdown) << name;
        EXPECT_FALSE(stored(name).restart_pending) << name;
    }
    keeper_->resume();
    context_.restart();
    context_.run_for(milliseconds(50));
    EXPECT_TRUE(context_.stopped());
}

}  // namespace
}  // namespace noxsup::daemon
