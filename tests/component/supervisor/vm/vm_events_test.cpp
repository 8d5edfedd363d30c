// What a VM and the registry tell the event hub.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "supervisor/base/scope_exit.hpp"
#include "supervisor/daemon/registry.hpp"
#include "supervisor/vm/vm.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/stand_in_vm.hpp"
#include "tests/support/vm_home.hpp"

namespace noxsup::vm {
namespace {

using test::ScriptedQmpPeer;
using testing::ElementsAre;
using testing::IsEmpty;

/// "kind previous>state reason" of everything that was published; "qmp NAME state".
std::vector<std::string> told(const EventHub& hub) {
    std::vector<std::string> lines;
    EventCursor cursor;
    while (const auto event = hub.read(cursor)) {
        std::string line(to_string(event->kind));
        if (event->kind == EventKind::qmp) line += " " + event->event;
        line += " ";
        if (event->previous) line += std::string(lifecycle::to_string(*event->previous)) + ">";
        if (event->state) line += lifecycle::to_string(*event->state);
        const auto reason = lifecycle::to_string(event->reason);
        if (!reason.empty()) line += " " + std::string(reason);
        lines.push_back(std::move(line));
    }
    return lines;
}

class VmEvents : public test::VmHome {
  protected:
    VmEvents() {
        environment_.find_qemu =
            [](spec::Arch) -> boost::asio::awaitable<Result<launch::QemuBinary>> {
            co_return Error{ErrorCode::host_lacks_qemu, "no QEMU here"};
        };
    }

    state::VmRecord make_vm(lifecycle::State state) {
        state::VmRecord record;
        record.spec = test::sample_spec();
        record.state = state;
        const auto begun = store_.begin_create(record.spec.id);
        EXPECT_TRUE(store_.finish_create(*begun, record));
        return record;
    }

    static boost::asio::awaitable<bool> adopt(daemon::Registry& registry) {
        co_await registry.adopt_all();
        co_return true;
    }

    daemon::Registry registry_{environment_};
};

TEST_F(VmEvents, AVmThatIsMadeStartsFailsAndGoes) {
    state::VmRecord record;
    record.spec = test::sample_spec();
    record.reason = lifecycle::Reason::user;
    {
        auto claim = registry_.claim("testvm");
        claim->describe(record.spec);
        claim->describe(record.spec);
        const auto begun = store_.begin_create(record.spec.id);
        ASSERT_TRUE(store_.finish_create(*begun, record));
        const auto vm = registry_.add(record, *claim);
        Stages stages([](std::string_view, std::optional<double>) {});
        EXPECT_FALSE(test::run_async(context_, vm->start(stages)));
    }
    registry_.remove("testvm");
    registry_.remove("testvm");
    EXPECT_THAT(
        told(environment_.events),
        ElementsAre("state creating", "state creating>stopped user", "state stopped>starting",
                    "state starting>stopped user", "deleted stopped> user"));
    EventCursor cursor;
    const auto event = environment_.events.read(cursor);
    EXPECT_EQ(event->vm, "testvm");
    EXPECT_EQ(event->uuid, record.spec.uuid);
}

TEST_F(VmEvents, ANewNameIsTold) {
    make_vm(lifecycle::State::stopped);
    ASSERT_TRUE(registry_.load());
    ASSERT_TRUE(test::run_async(context_, adopt(registry_)));
    ASSERT_TRUE(registry_.rename("testvm", "other"));
    EXPECT_THAT(told(environment_.events), ElementsAre("renamed stopped"));
    EventCursor cursor;
    const auto event = to_json(*environment_.events.read(cursor));
    EXPECT_EQ(event["vm"], "other");
    EXPECT_EQ(event["data"], Json({{"from", "testvm"}}));
}

TEST_F(VmEvents, AVmThatIsNeverFinishedGoes) {
    { const auto not_begun = registry_.claim("testvm"); }
    EXPECT_THAT(told(environment_.events), IsEmpty());
    {
        auto claim = registry_.claim("testvm");
        claim->describe(test::sample_spec());
    }
    EXPECT_THAT(told(environment_.events), ElementsAre("state creating", "deleted creating>"));
}

TEST_F(VmEvents, AnEndThatNobodySawIsTold) {
    make_vm(lifecycle::State::running);
    ASSERT_TRUE(registry_.load());
    ASSERT_TRUE(test::run_async(context_, adopt(registry_)));
    EXPECT_THAT(told(environment_.events), ElementsAre("state running>stopped unknown"));
}

TEST_F(VmEvents, WhatIsAsItWasIsNoNews) {
    make_vm(lifecycle::State::stopped);
    ASSERT_TRUE(registry_.load());
    ASSERT_TRUE(test::run_async(context_, adopt(registry_)));
    (*registry_.find("testvm"))->remember_stages(Json::array());
    EXPECT_THAT(told(environment_.events), IsEmpty());
}

class VmQmpEvents : public testing::Test {
  protected:
    boost::asio::awaitable<bool> adopt() {
        co_await stand_in_->testvm->adopt();
        co_return true;
    }
    /// The script goes on once the VM was seen to run as it was adopted.
    void begin(ScriptedQmpPeer::Script script) {
        const auto seen = std::make_shared<std::promise<void>>();
        const ScopeExit go_on([seen] { seen->set_value(); });
        stand_in_.emplace(context_, [script = std::move(script), seen](ScriptedQmpPeer& p) {
            seen->get_future().wait();
            script(p);
        });
        ASSERT_TRUE(test::run_async(context_, adopt()));
        ASSERT_EQ(stand_in_->testvm->state(), lifecycle::State::running);
    }
    /// Runs until so much was published.
    void run_until(std::size_t events) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
        context_.restart();
        while (stand_in_->environment.events.last_seq() < events) {
            ASSERT_LT(std::chrono::steady_clock::now(), deadline);
            context_.run_one_for(std::chrono::milliseconds(10));
        }
    }

    boost::asio::io_context context_;
    std::optional<test::StandInVm> stand_in_;
};

TEST_F(VmQmpEvents, EachComesBeforeTheChangeItMakes) {
    begin([](ScriptedQmpPeer& p) {
        p.say_event("STOP");
        p.say_event("RESUME");
        p.say_event("RTC_CHANGE", {{"offset", 5}});
        p.say_event("SHUTDOWN", {{"guest", true}, {"reason", "guest-shutdown"}});
        // What cannot be understood is told all the same.
        p.say_event("SHUTDOWN", {{"guest", 5}});
        p.expect_hang_up();
    });
    run_until(8);
    EXPECT_THAT(
        told(stand_in_->environment.events),
        ElementsAre("qmp STOP running", "state running>paused unknown", "qmp RESUME paused unknown",
                    "state paused>running", "qmp RTC_CHANGE running", "qmp SHUTDOWN running",
                    "state running>stopping guest-shutdown",
                    "qmp SHUTDOWN stopping guest-shutdown"));
    EventCursor cursor{5, {}};
    const auto event = to_json(*stand_in_->environment.events.read(cursor));
    EXPECT_EQ(event["vm"], "testvm");
    EXPECT_EQ(event["uuid"], test::sample_spec().uuid);
    EXPECT_EQ(event["data"], Json({{"offset", 5}}));
    stand_in_->kill();
    run_until(9);
    EXPECT_EQ(told(stand_in_->environment.events).back(), "state stopping>stopped guest-shutdown");
}

TEST_F(VmQmpEvents, AStopThatIsWithdrawnIsTold) {
    begin([](ScriptedQmpPeer& p) {
        p.answer(p.expect("query-status"), {{"status", "running"}, {"running", true}});
        p.answer(p.expect("system_powerdown"));
        p.expect_hang_up();
    });
    TaskGroup tasks(context_.get_executor());
    auto stopping = [](std::shared_ptr<Vm> vm) -> boost::asio::awaitable<void> {
        const StopLimits limits;
        const auto outcome = co_await vm->stop(false, limits);
        EXPECT_FALSE(outcome);
    };
    tasks.spawn("stop", stopping(stand_in_->testvm));
    run_until(1);
    context_.run_for(std::chrono::milliseconds(200));
    tasks.cancel();
    run_until(2);
    while (tasks.size() != 0) context_.run_one_for(std::chrono::milliseconds(10));
    EXPECT_THAT(told(stand_in_->environment.events),
                ElementsAre("state running>stopping user", "state stopping>running"));
}

TEST_F(VmQmpEvents, AnEndByTheButtonIsOneHoweverSlowlyQemuGoes) {
    begin([](ScriptedQmpPeer& p) {
        p.answer(p.expect("query-status"), {{"status", "running"}, {"running", true}});
        p.answer(p.expect("system_powerdown"));
        // The guest is off, and QEMU ends just when the button is pressed again.
        p.expect("system_powerdown");
        p.hang_up();
    });
    std::optional<Result<StopMethod>> outcome;
    TaskGroup tasks(context_.get_executor());
    auto stopping = [&outcome](std::shared_ptr<Vm> vm) -> boost::asio::awaitable<void> {
        StopLimits limits;
        limits.button_again = std::chrono::milliseconds(50);
        outcome = co_await vm->stop(false, limits);
    };
    tasks.spawn("stop", stopping(stand_in_->testvm));
    context_.restart();
    const auto hung_up = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
    while (std::chrono::steady_clock::now() < hung_up)
        context_.run_one_for(std::chrono::milliseconds(10));
    EXPECT_FALSE(outcome) << "its process is still there";
    stand_in_->kill();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!outcome && std::chrono::steady_clock::now() < deadline)
        context_.run_one_for(std::chrono::milliseconds(10));
    ASSERT_TRUE(outcome && *outcome);
    EXPECT_EQ(**outcome, StopMethod::power_button);
    while (tasks.size() != 0) context_.run_one_for(std::chrono::milliseconds(10));
}

}  // namespace
}  // namespace noxsup::vm
