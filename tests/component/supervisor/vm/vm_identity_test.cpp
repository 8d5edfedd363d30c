// A guest that goes on from a template, and whose supervisor ended before it was somebody.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/run_async.hpp"
#include "tests/support/stand_in_vm.hpp"
#include "tests/support/vm_home.hpp"

namespace noxsup::vm {
namespace {

using namespace std::chrono_literals;
using lifecycle::State;
using test::ScriptedQmpPeer;

constexpr auto patience = 60s;

class VmIdentity : public testing::Test {
  protected:
    void adopt(ScriptedQmpPeer::Script script, bool pending) {
        stand_in_.emplace(context_, std::move(script), test::sample_spec(), nullptr,
                          [pending](state::VmRecord& record) {
                              record.spec.warm_template = "0badcafe";
                              record.identity_pending = pending;
                          });
        boost::asio::co_spawn(context_, stand_in_->testvm->adopt(), boost::asio::detached);
    }
    bool comes(const std::function<bool()>& what) {
        return test::comes_true(context_, what, patience);
    }

    boost::asio::io_context context_;
    std::optional<test::StandInVm> stand_in_;
};

TEST_F(VmIdentity, TheNextSupervisorEndsItAndItBootsThen) {
    adopt(
        [this](ScriptedQmpPeer& p) {
            p.expect("quit");
            stand_in_->kill();
        },
        true);
    ASSERT_TRUE(comes([this] { return stand_in_->testvm->state() == State::stopped; }));
    EXPECT_FALSE(stand_in_->stored().identity_pending);
    stand_in_.reset();
}

TEST_F(VmIdentity, OneThatIsItselfIsLeftAlone) {
    adopt([](ScriptedQmpPeer& p) { p.expect_hang_up(); }, false);
    ASSERT_TRUE(comes([this] { return stand_in_->testvm->state() == State::running; }));
    context_.run_for(200ms);
    EXPECT_EQ(stand_in_->testvm->state(), State::running);
    stand_in_.reset();
}

/// A copy that never came to run is no longer one: its next start is a boot, and a supervisor that
/// finds that one leaves it alone.
class VmThatCannotStart : public test::VmHome {};

TEST_F(VmThatCannotStart, HasNoIdentityToWaitFor) {
    environment_.find_qemu = [](spec::Arch) -> boost::asio::awaitable<Result<launch::QemuBinary>> {
        co_return Error{ErrorCode::host_lacks_qemu, "no QEMU here"};
    };
    state::VmRecord record;
    record.spec = test::sample_spec();
    record.spec.warm_template = "0badcafe";
    record.identity_pending = true;
    const auto begun = store_.begin_create(record.spec.id);
    ASSERT_TRUE(store_.finish_create(*begun, record));
    const auto vm = std::make_shared<Vm>(environment_, record);
    Stages stages;
    EXPECT_FALSE(test::run_async(context_, vm->start_with(RamStart(), stages)));
    const auto stored = store_.load(record.spec.name);
    ASSERT_TRUE(stored);
    EXPECT_FALSE(stored->record.value().identity_pending);
}

/// One that ended before anybody looked, too.
TEST_F(VmIdentity, OfADeadOneNothingIsPending) {
    adopt([](ScriptedQmpPeer&) {}, true);
    stand_in_->kill();
    ASSERT_TRUE(comes([this] {
        const auto stored = stand_in_->stored();
        return !stored.identity_pending && stored.state != State::running;
    }));
    stand_in_.reset();
}

}  // namespace
}  // namespace noxsup::vm
