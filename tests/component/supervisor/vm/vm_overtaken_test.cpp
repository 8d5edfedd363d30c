// Orders that somebody else's stop overtakes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "tests/support/run_async.hpp"
#include "tests/support/stand_in_vm.hpp"

namespace noxsup::vm {
namespace {

using namespace std::chrono_literals;
using lifecycle::State;
using test::ScriptedQmpPeer;
using testing::HasSubstr;

constexpr auto patience = 60s;

class VmOvertaken : public testing::Test {
  protected:
    /// Adopts a VM whose QEMU answers the queries before an order, and hears `last` of it.
    void begin(int queries, bool runs, const std::string& last) {
        stand_in_.emplace(context_, [this, queries, runs, last](ScriptedQmpPeer& p) {
            if (!runs) p.say_event("STOP");
            for (int query = 0; query < queries; ++query) {
                p.answer(p.expect("query-status"),
                         {{"status", runs ? "running" : "paused"}, {"running", runs}});
            }
            p.expect(last);
            heard_ = true;
            p.expect("quit");
            stand_in_->kill();
        });
        bool adopted = false;
        boost::asio::co_spawn(context_, vm().adopt(),
                              [&adopted](const std::exception_ptr&) { adopted = true; });
        ASSERT_TRUE(comes([&adopted] { return adopted; }));
    }
    Vm& vm() { return *stand_in_->testvm; }

    /// What becomes of an order whose QEMU has heard it when a stop comes.
    Result<> stop_during(boost::asio::awaitable<Result<>> order) {
        std::optional<Result<>> outcome;
        boost::asio::co_spawn(
            context_, std::move(order),
            [&outcome](const std::exception_ptr&, Result<> done) { outcome = std::move(done); });
        EXPECT_TRUE(comes([this] { return heard_.load(); }));
        bool stopped = false;
        boost::asio::co_spawn(
            context_, vm().stop(true, {}),
            [&stopped](const std::exception_ptr&, const Result<StopMethod>& done) {
                stopped = done.has_value();
            });
        EXPECT_TRUE(comes([&] { return stopped && outcome; }));
        EXPECT_EQ(vm().state(), State::stopped);
        return outcome.value_or(Result<>());
    }

    bool comes(const std::function<bool()>& what) {
        return test::comes_true(context_, what, patience);
    }

    static void is_wrong_state(const Result<>& outcome, const std::string& order) {
        ASSERT_FALSE(outcome);
        EXPECT_EQ(outcome.error().code, ErrorCode::wrong_state);
        EXPECT_EQ(outcome.error().message, "cannot " + order + " testvm: it was stopped meanwhile");
        EXPECT_EQ(outcome.error().hint, "start it with noxsup start testvm");
    }

    boost::asio::io_context context_;
    std::atomic<bool> heard_ = false;  // the peer's thread says so
    std::optional<test::StandInVm> stand_in_;
};

TEST_F(VmOvertaken, AReset) {
    begin(1, true, "system_reset");
    is_wrong_state(stop_during(vm().reset()), "reset");
}

TEST_F(VmOvertaken, AResetThatHasAskedOnly) {
    begin(0, true, "query-status");
    is_wrong_state(stop_during(vm().reset()), "reset");
}

TEST_F(VmOvertaken, APause) {
    begin(1, true, "stop");
    is_wrong_state(stop_during(vm().pause()), "pause");
}

TEST_F(VmOvertaken, AResume) {
    begin(1, false, "cont");
    is_wrong_state(stop_during(vm().resume()), "resume");
}

/// Nobody stopped it: its end is QEMU's own.
TEST_F(VmOvertaken, AQemuThatEndsByItselfIsToBlame) {
    stand_in_.emplace(context_, [this](ScriptedQmpPeer& p) {
        p.answer(p.expect("query-status"), {{"status", "running"}, {"running", true}});
        p.expect("system_reset");
        stand_in_->kill();
    });
    boost::asio::co_spawn(context_, vm().adopt(), boost::asio::detached);
    std::optional<Result<>> outcome;
    boost::asio::co_spawn(
        context_, vm().reset(),
        [&outcome](const std::exception_ptr&, Result<> done) { outcome = std::move(done); });
    ASSERT_TRUE(comes([&outcome] { return outcome.has_value(); }));
    ASSERT_FALSE(*outcome);
    EXPECT_NE(outcome->error().code, ErrorCode::wrong_state);
    EXPECT_THAT(outcome->error().message, HasSubstr("QMP connection"));
    EXPECT_TRUE(comes([this] { return vm().state() == State::failed; }));
}

}  // namespace
}  // namespace noxsup::vm
