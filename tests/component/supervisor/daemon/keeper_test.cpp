// Restarts and autostart with a QEMU that never comes up: what is tried, how often, in which order.
#include "supervisor/daemon/keeper.hpp"

#include <gmock/gmock.h>

#include <fstream>

#include "supervisor/daemon/host_shutdown.hpp"
#include "tests/component/supervisor/daemon/keeper_fixture.hpp"

namespace noxsup::daemon {
namespace {

using lifecycle::Reason;
using lifecycle::State;
using spec::Arch;
using spec::Autostart;
using spec::RestartPolicy;
using std::chrono::milliseconds;
using test::KeeperTest;
using testing::ElementsAre;

std::function<void(state::VmRecord&)> with(Autostart mode, unsigned order = 100,
                                           RestartPolicy restart = RestartPolicy::no) {
    return [=](state::VmRecord& record) {
        record.spec.autostart = {mode, order, 0};
        record.spec.restart = restart;
    };
}

TEST_F(KeeperTest, AfterABootOfTheHostWhatIsToStartIsTriedOnce) {
    make_vm("a", 1, with(Autostart::on));
    make_vm("b", 2, with(Autostart::off));
    make_vm("c", 3, with(Autostart::on));
    begin_supervisor();
    ASSERT_TRUE(runs_until([this] { return autostart_done(); }));
    EXPECT_EQ(asked_.size(), 2U) << "one that fails does not hold up the other";
    EXPECT_EQ(test::slurp(home_.boot_marker()), "this-boot\n");
    EXPECT_EQ(state("a"), "stopped/user") << "what had no QEMU is as it was";

    end_supervisor();
    begin_supervisor();
    run_for(milliseconds(50));
    EXPECT_EQ(asked_.size(), 2U) << "the next supervisor of the same boot starts nothing";

    end_supervisor();
    environment_.boot_id = "next-boot";
    begin_supervisor();
    ASSERT_TRUE(runs_until([this] { return asked_.size() == 4; }));
    ASSERT_TRUE(runs_until([this] { return test::slurp(home_.boot_marker()) == "next-boot\n"; }));
}

TEST_F(KeeperTest, ItCanBeForbidden) {
    make_vm("a", 1, with(Autostart::on));
    begin_supervisor(false);
    run_for(milliseconds(50));
    EXPECT_TRUE(asked_.empty());
    EXPECT_FALSE(autostart_done()) << "one that may do it later still does";
}

TEST_F(KeeperTest, LastIsWhatRanWhenTheHostWentDown) {
    const auto last = [](State state, Reason reason, bool pending = false) {
        return [=](state::VmRecord& record) {
            record.spec.autostart.mode = Autostart::last;
            record.state = state;
            record.reason = reason;
            record.restart_pending = pending;
        };
    };
    make_vm("byuser", 1, last(State::stopped, Reason::user));
    make_vm("crashed", 2, last(State::failed, Reason::crash_loop));
    make_vm("inorder", 3, last(State::stopped, Reason::host_shutdown));
    make_vm("waited", 4, last(State::failed, Reason::killed, true));
    make_vm("powercut", 5, [](state::VmRecord& record) {
        record.spec.autostart.mode = Autostart::last;
        record.state = State::running;
        record.qemu = launch::ProcessIdentity{4321, 1, "boot-before"};
    });
    begin_supervisor();
    ASSERT_TRUE(runs_until([this] { return autostart_done(); }));
    EXPECT_EQ(asked_.size(), 3U);
    const auto started = autostart_order(registry_->all());
    std::vector<std::string> names;
    for (const auto& vm : started) names.push_back(vm->spec().name);
    // None of them came up, so the next boot tries those again that nobody took in hand.
    EXPECT_THAT(names, ElementsAre("inorder", "powercut"));
}

TEST_F(KeeperTest, OrderIsByNumberThenByNameAndStopsAreTheReverse) {
    make_vm("late", 1, with(Autostart::on, 200));
    make_vm("b", 2, with(Autostart::on, 100));
    make_vm("a", 3, with(Autostart::on, 100));
    make_vm("first", 4, [](state::VmRecord& record) {
        record.spec = test::sample_spec(Arch::arm64);
        record.spec.name = "first";
        record.spec.autostart = {Autostart::on, 1, 0};
    });
    begin_supervisor();
    ASSERT_TRUE(runs_until([this] { return autostart_done(); }));
    EXPECT_EQ(asked_.size(), 4U);
    EXPECT_EQ(asked_.front(), Arch::arm64);
    std::vector<std::string> names;
    for (const auto& vm : autostart_order(registry_->all())) names.push_back(vm->spec().name);
    EXPECT_THAT(names, ElementsAre("first", "a", "b", "late"));
    std::vector<std::vector<std::string>> groups;
    for (const auto& group : stop_groups(registry_->all())) {
        groups.emplace_back();
        for (const auto& vm : group) groups.back().push_back(vm->spec().name);
    }
    EXPECT_THAT(groups,
                ElementsAre(ElementsAre("late"), ElementsAre("a", "b"), ElementsAre("first")));
}

TEST_F(KeeperTest, AStartThatFailsIsTriedAgainByThePolicyAndGivenUp) {
    make_vm("a", 1, with(Autostart::on, 100, RestartPolicy::on_failure));
    make_vm("b", 2, with(Autostart::on, 100, RestartPolicy::no));
    begin_supervisor();
    ASSERT_TRUE(runs_until([this] { return state("a") == "failed/crash-loop"; }));
    EXPECT_EQ(asked_.size(), 5U + 1U);
    EXPECT_EQ(vm("a")->to_json()["restart_at"], Json());
    EXPECT_EQ(stored("a").reason, Reason::crash_loop);
    EXPECT_FALSE(stored("a").restart_pending);
    run_for(milliseconds(200));
    EXPECT_EQ(asked_.size(), 5U + 1U);

    // A user's own start fails once and is not tried again.
    keeper_->withdraw(*vm("a"));
    vm::Stages stages;
    bool done = false;
    boost::asio::co_spawn(
        context_, vm("a")->start(stages),
        [&done](const std::exception_ptr&, const Result<>& outcome) { done = !outcome; });
    ASSERT_TRUE(runs_until([&done] { return done; }));
    run_for(milliseconds(100));
    EXPECT_EQ(asked_.size(), 5U + 2U);
}

TEST_F(KeeperTest, ARestartToComeIsShownKeptAndWithdrawn) {
    dir_.write("home/run/boot", "this-boot\n");
    limits_.first = limits_.longest = milliseconds(300);
    make_vm("a", 1, [](state::VmRecord& record) {
        record.spec.restart = RestartPolicy::on_failure;
        record.state = State::failed;
        record.reason = Reason::killed;
        record.restart_pending = true;
    });
    begin_supervisor();
    ASSERT_TRUE(runs_until([this] { return asked_.size() == 2; }))
        << "an earlier one waited for it";
    EXPECT_TRUE(vm("a")->restart_pending());
    EXPECT_TRUE(vm("a")->to_json()["restart_at"].is_string());
    EXPECT_TRUE(stored("a").restart_pending);
    EXPECT_EQ(state("a"), "failed/killed");

    keeper_->withdraw(*vm("a"));
    EXPECT_FALSE(stored("a").restart_pending);
    EXPECT_EQ(vm("a")->to_json()["restart_at"], Json());
    run_for(milliseconds(500));
    EXPECT_EQ(asked_.size(), 2U);
    EXPECT_TRUE(context_.stopped()) << "no timer is left";
}

TEST_F(KeeperTest, AVmFoundDeadIsStartedAgainByItsPolicyUnlessItsHostWasRestarted) {
    dir_.write("home/run/boot", "this-boot\n");
    const auto ran = [](RestartPolicy policy, const char* boot, State state, Reason reason) {
        return [=](state::VmRecord& record) {
            record.spec.restart = policy;
            record.state = state;
            record.reason = reason;
            record.qemu = launch::ProcessIdentity{4321, 1, boot};
        };
    };
    using enum RestartPolicy;
    make_vm("died", 1, ran(on_failure, "this-boot", State::running, Reason::none));
    make_vm("without", 2, ran(no, "this-boot", State::running, Reason::none));
    make_vm("stopping", 3, ran(always, "this-boot", State::stopping, Reason::user));
    make_vm("before", 4, ran(always, "boot-before", State::running, Reason::none));
    begin_supervisor();
    ASSERT_TRUE(runs_until([this] { return state("died") == "failed/crash-loop"; }));
    EXPECT_EQ(asked_.size(), 4U) << "being found dead was its first end";
    EXPECT_EQ(state("without"), "stopped/unknown");
    EXPECT_EQ(state("stopping"), "stopped/user");
    EXPECT_EQ(state("before"), "stopped/host-shutdown");
}

TEST_F(KeeperTest, NothingStartsWhileTheHostShutsDown) {
    make_vm("a", 1, with(Autostart::on, 1));
    make_vm("b", 2, with(Autostart::on, 2, RestartPolicy::always));
    begin_supervisor();
    keeper_->suspend();
    run_for(milliseconds(100));
    EXPECT_TRUE(asked_.empty());
    keeper_->resume();
    run_for(milliseconds(100));
    EXPECT_TRUE(asked_.empty()) << "what was to come is off";
}

TEST_F(KeeperTest, APolicyThatIsTakenAwayStartsNothingMore) {
    dir_.write("home/run/boot", "this-boot\n");
    limits_.first = milliseconds(300);
    make_vm("a", 1, [](state::VmRecord& record) {
        record.spec.restart = RestartPolicy::on_failure;
        record.state = State::running;
        record.qemu = launch::ProcessIdentity{4321, 1, "this-boot"};
    });
    begin_supervisor();
    ASSERT_TRUE(runs_until([this] { return vm("a")->restart_pending(); }));
    vm::Vm::Edit edit = [](spec::VmSpec& spec) { spec.restart = RestartPolicy::no; };
    bool done = false;
    boost::asio::co_spawn(context_, vm("a")->change(std::move(edit), {}),
                          [&done](const std::exception_ptr&, const Result<>& outcome) {
                              done = outcome.has_value();
                          });
    ASSERT_TRUE(runs_until([&done] { return done; }));
    ASSERT_TRUE(runs_until([this] { return !vm("a")->restart_pending(); }));
    EXPECT_TRUE(asked_.empty());
    EXPECT_FALSE(stored("a").restart_pending);
}

}  // namespace
}  // namespace noxsup::daemon
