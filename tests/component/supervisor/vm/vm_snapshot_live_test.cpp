// Snapshots of a running VM, in front of a QEMU and a guest's agent whose every word the test
// writes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/run_async.hpp"
#include "tests/support/stand_in_vm.hpp"

namespace noxsup::vm {
namespace {

using namespace std::chrono_literals;
using test::ScriptedQmpPeer;
using testing::HasSubstr;
using testing::IsEmpty;

void answer_status(ScriptedQmpPeer& p, bool running = true) {
    p.answer(p.expect("query-status"),
             {{"status", running ? "running" : "paused"}, {"running", running}});
}
void stand_still(ScriptedQmpPeer& p) {
    p.answer(p.expect("stop"));
    p.say_event("STOP");
}
/// A guest that runs, until its snapshot begins.
void come_to_a_stand(ScriptedQmpPeer& p) {
    answer_status(p);
    answer_status(p);
    stand_still(p);
}
void go_on(ScriptedQmpPeer& p) {
    p.answer(p.expect("cont"));
    p.say_event("RESUME");
}

// What an agent says; each conversation is a connection of its own.
void agent_answers(ScriptedQmpPeer& p, const std::string& name) {
    p.accept();
    const auto sync = p.expect("guest-sync-delimited");
    p.say("\xff{\"return\": " + sync.at("arguments").at("id").dump() + "}\n");
    p.answer(p.expect("guest-ping"));
    p.answer(p.expect(name), 1);
    p.expect_hang_up();
}

class VmSnapshotLive : public testing::Test {
  protected:
    using Change = std::function<void(state::VmRecord&)>;

    void adopt(ScriptedQmpPeer::Script script, const ScriptedQmpPeer* agent,
               const Change& change = {}) {
        stand_in_.emplace(context_, std::move(script), test::sample_spec(), nullptr, change);
        auto& vm = *stand_in_->testvm;
        std::ofstream(vm.directory() / "efivars.fd") << "variables";
        if (agent != nullptr)
            std::filesystem::create_symlink(agent->path(), vm.files().agent_socket());
        boost::asio::co_spawn(context_, vm.adopt(), boost::asio::detached);
        EXPECT_TRUE(test::run_async(context_, settled(vm)));
    }
    static boost::asio::awaitable<bool> settled(Vm& of) {
        co_await of.settled();
        co_return true;
    }
    Result<Vm::SnapshotOutcome> create() {
        Vm::SnapshotRequest request;
        request.name = "live";
        return test::run_async(context_, stand_in_->testvm->create_snapshot(std::move(request), {}),
                               60s);
    }
    std::string finish() {
        // What QEMU has said last is read before the connection is closed.
        context_.restart();
        context_.run_for(50ms);
        stand_in_->testvm->release();
        context_.restart();
        context_.run_for(50ms);
        return stand_in_->peer.finish();
    }
    [[nodiscard]] std::string tag_of(const Json& command) const {
        return command.at("arguments").at("name");
    }

    boost::asio::io_context context_;
    std::optional<test::StandInVm> stand_in_;
};

TEST_F(VmSnapshotLive, TheGuestIsFrozenStandsStillAndGoesOn) {
    ScriptedQmpPeer agent([](ScriptedQmpPeer& p) {
        agent_answers(p, "guest-fsfreeze-freeze");
        agent_answers(p, "guest-fsfreeze-thaw");
    });
    Json snapshot;
    adopt(
        [&](ScriptedQmpPeer& p) {
            come_to_a_stand(p);
            const auto command = p.expect("blockdev-snapshot-internal-sync");
            snapshot = command.at("arguments");
            p.answer(command);
            go_on(p);
            p.expect_hang_up();
        },
        &agent);
    const auto taken = create();
    ASSERT_TRUE(taken) << taken.error().message;
    EXPECT_THAT(taken->notes, IsEmpty());
    EXPECT_EQ(state::consistency_of(*taken->snapshot), "frozen");
    EXPECT_EQ(snapshot, Json({{"device", "disk"}, {"name", taken->snapshot->tag}}));
    const auto stored = stand_in_->stored();
    EXPECT_EQ(stored.snapshots, std::vector{*taken->snapshot});
    EXPECT_FALSE(stored.snapshot_work);
    const auto vars =
        stand_in_->testvm->directory() / "snapshots" / (taken->snapshot->tag + ".efivars");
    EXPECT_EQ(test::slurp(vars), "variables");
    EXPECT_EQ(agent.finish(), "");
    EXPECT_EQ(finish(), "");
}

TEST_F(VmSnapshotLive, WhatQemuRefusesLeavesTheGuestThawedAndRunning) {
    ScriptedQmpPeer agent([](ScriptedQmpPeer& p) {
        agent_answers(p, "guest-fsfreeze-freeze");
        agent_answers(p, "guest-fsfreeze-thaw");
    });
    adopt(
        [&](ScriptedQmpPeer& p) {
            come_to_a_stand(p);
            const auto command = p.expect("blockdev-snapshot-internal-sync");
            p.refuse(command, "GenericError", "No space left on device");
            answer_status(p, false);
            go_on(p);
            const auto removal = p.expect("blockdev-snapshot-delete-internal-sync");
            EXPECT_EQ(tag_of(removal), tag_of(command));
            p.refuse(removal, "GenericError",
                     "Snapshot with id 'null' and name 'x' does not exist on device 'disk'");
            p.expect_hang_up();
        },
        &agent);
    const auto taken = create();
    ASSERT_FALSE(taken);
    EXPECT_THAT(taken.error().message, HasSubstr("No space left"));
    const auto stored = stand_in_->stored();
    EXPECT_THAT(stored.snapshots, IsEmpty());
    EXPECT_FALSE(stored.snapshot_work);
    EXPECT_TRUE(std::filesystem::is_empty(stand_in_->testvm->directory() / "snapshots"));
    EXPECT_EQ(agent.finish(), "");
    EXPECT_EQ(finish(), "");
}

TEST_F(VmSnapshotLive, AGuestThatRefusesIsThawedAllTheSame) {
    ScriptedQmpPeer agent([](ScriptedQmpPeer& p) {
        p.accept();
        const auto sync = p.expect("guest-sync-delimited");
        p.say("\xff{\"return\": " + sync.at("arguments").at("id").dump() + "}\n");
        p.answer(p.expect("guest-ping"));
        p.refuse(p.expect("guest-fsfreeze-freeze"), "GenericError", "hook failed");
        p.expect_hang_up();
        agent_answers(p, "guest-fsfreeze-thaw");
    });
    adopt(
        [&](ScriptedQmpPeer& p) {
            come_to_a_stand(p);
            p.answer(p.expect("blockdev-snapshot-internal-sync"));
            go_on(p);
            p.expect_hang_up();
        },
        &agent);
    const auto taken = create();
    ASSERT_TRUE(taken) << taken.error().message;
    ASSERT_EQ(taken->notes.size(), 1U);
    EXPECT_THAT(taken->notes[0], HasSubstr("hook failed"));
    EXPECT_EQ(state::consistency_of(*taken->snapshot), "crash");
    EXPECT_EQ(agent.finish(), "");
    EXPECT_EQ(finish(), "");
}

TEST_F(VmSnapshotLive, TheNextSupervisorLetsAGuestGoOnThatWasLeftStanding) {
    ScriptedQmpPeer agent([](ScriptedQmpPeer& p) { agent_answers(p, "guest-fsfreeze-thaw"); });
    state::SnapshotWork work;
    work.tag = "live.0123abcd";
    work.resume = work.thaw = true;
    const auto begun = [&work](state::VmRecord& record) { record.snapshot_work = work; };
    adopt(
        [&](ScriptedQmpPeer& p) {
            answer_status(p, false);
            go_on(p);
            const auto removal = p.expect("blockdev-snapshot-delete-internal-sync");
            EXPECT_EQ(tag_of(removal), work.tag);
            p.answer(removal);
            p.expect_hang_up();
        },
        &agent, begun);
    EXPECT_TRUE(test::comes_true(
        context_, [this] { return !stand_in_->stored().snapshot_work; }, 60s));
    EXPECT_THAT(stand_in_->stored().snapshots, IsEmpty());
    EXPECT_EQ(agent.finish(), "");
    EXPECT_EQ(finish(), "");
}

}  // namespace
}  // namespace noxsup::vm
