// Snapshots of VMs with real QEMUs, whose guest halts its processor at once.
#include <gmock/gmock.h>

#include "tests/component/supervisor/daemon/keeper_qemu_fixture.hpp"

namespace noxsup::vm {
namespace {

using lifecycle::State;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class VmSnapshotQemu : public test::KeeperQemu {
  protected:
    VmSnapshotQemu() {
        make_idle_vm("testvm", 1, [](state::VmRecord& record) {
            record.spec.disk.virtual_bytes = 64 * spec::mebibyte;
        });
        run_command({"qemu-img", "create", "-q", "-f", "qcow2", disk(), "64M"});
        begin_supervisor(false);
        EXPECT_TRUE(runs_until([this] { return state("testvm") == "stopped/user"; }));
    }
    ~VmSnapshotQemu() override { stop(); }

    Result<> start(Vm::First first = Vm::First::run) {
        Stages stages;
        return completed(vm("testvm")->start(stages, first));
    }
    void stop() { static_cast<void>(completed(vm("testvm")->stop(true, {}))); }
    Result<Vm::SnapshotOutcome> create(const std::string& name, bool ram = false) {
        Vm::SnapshotRequest request;
        request.name = name;
        request.ram = ram;
        return completed(vm("testvm")->create_snapshot(std::move(request), {}));
    }
    std::string disk() { return (home_.vm("testvm") / "disk.qcow2").string(); }
    /// The names of the snapshots in the disk; @pre no QEMU has it
    std::vector<std::string> in_disk() {
        const auto info =
            Json::parse(run_command({"qemu-img", "info", "--output=json", "-f", "qcow2", disk()}));
        std::vector<std::string> tags;
        for (const auto& entry : info.value("snapshots", Json::array()))
            tags.push_back(entry["name"]);
        EXPECT_THAT(run_command({"qemu-img", "check", "-f", "qcow2", disk()}),
                    HasSubstr("No errors were found"));
        return tags;
    }
};

TEST_F(VmSnapshotQemu, OneOfARunningVmStopsItForAMomentAlone) {
    ASSERT_TRUE(start());
    const auto pid = vm("testvm")->pid();
    const auto taken = create("live");
    ASSERT_TRUE(taken) << taken.error().message;
    ASSERT_EQ(taken->notes.size(), 1U);
    EXPECT_THAT(taken->notes[0], HasSubstr("qemu-guest-agent"));
    EXPECT_EQ(taken->snapshot->state, State::running);
    EXPECT_EQ(state("testvm"), "running/");
    EXPECT_EQ(vm("testvm")->pid(), pid);
    const auto refused = completed(vm("testvm")->restore_snapshot("live"));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::wrong_state);
    EXPECT_THAT(refused.error().hint, HasSubstr("noxsup stop testvm"));
    ASSERT_TRUE(create("second"));
    ASSERT_TRUE(completed(vm("testvm")->remove_snapshot("live")));
    stop();
    EXPECT_THAT(in_disk(), ElementsAre(vm("testvm")->snapshots().at(0).tag));
    ASSERT_TRUE(completed(vm("testvm")->restore_snapshot("second")));
    EXPECT_EQ(state("testvm"), "stopped/user");
    ASSERT_TRUE(start());
}

TEST_F(VmSnapshotQemu, WithItsMemoryAStartGoesOnFromItAgainAndAgain) {
    ASSERT_TRUE(start());
    const auto taken = create("awake", true);
    ASSERT_TRUE(taken) << taken.error().message;
    EXPECT_THAT(taken->notes, IsEmpty());
    EXPECT_EQ(state("testvm"), "running/") << "it goes on";
    // What a snapshot has saved is not touched by what the VM saves later.
    ASSERT_TRUE(completed(vm("testvm")->suspend({})));
    EXPECT_EQ(state("testvm"), "suspended/user");
    const auto directory = home_.vm("testvm");
    const auto file = directory / "snapshots" / (taken->snapshot->tag + ".ram");
    const auto memory = test::slurp(file);
    for (int i = 0; i < 2; ++i) {
        const auto back = completed(vm("testvm")->restore_snapshot("awake"));
        ASSERT_TRUE(back) << back.error().message;
        EXPECT_THAT(back->notes, IsEmpty());
        EXPECT_EQ(state("testvm"), "suspended/user");
        const auto started = start();
        ASSERT_TRUE(started) << started.error().message;
        EXPECT_EQ(state("testvm"), "running/");
        EXPECT_FALSE(std::filesystem::exists(directory / "ram-state"));
        ASSERT_TRUE(completed(vm("testvm")->suspend({})));
        EXPECT_EQ(test::slurp(file), memory);
    }
    ASSERT_TRUE(completed(vm("testvm")->remove_snapshot("awake")));
    EXPECT_FALSE(std::filesystem::exists(file));
    EXPECT_THAT(in_disk(), IsEmpty());
}

TEST_F(VmSnapshotQemu, AGuestThatStandsStillIsLeftStanding) {
    ASSERT_TRUE(start(Vm::First::stand));
    for (const auto* name : {"a", "b"}) {
        const auto taken = create(name, true);
        ASSERT_TRUE(taken) << taken.error().message;
        EXPECT_EQ(taken->snapshot->state, State::paused);
        EXPECT_EQ(state("testvm"), "paused/user");
    }
    // QEMU has closed the disk when the memory was saved; it is opened again for this.
    ASSERT_TRUE(completed(vm("testvm")->remove_snapshot("a")));
    ASSERT_TRUE(create("c"));
    EXPECT_EQ(state("testvm"), "paused/user");
    ASSERT_TRUE(completed(vm("testvm")->resume()));
    stop();
    EXPECT_EQ(in_disk().size(), 2U);
}

TEST_F(VmSnapshotQemu, WhatASupervisorHadBegunTheNextOneTakesBack) {
    ASSERT_TRUE(start());
    const auto pid = vm("testvm")->pid();
    const auto taken = create("begun");
    ASSERT_TRUE(taken);
    ASSERT_TRUE(completed(vm("testvm")->pause()));
    end_supervisor();
    auto record = stored("testvm");
    state::SnapshotWork work;
    work.tag = taken->snapshot->tag;
    work.resume = true;
    record.snapshots.clear();
    record.snapshot_work = work;
    ASSERT_TRUE(store_.save(record));
    begin_supervisor(false);
    ASSERT_TRUE(runs_until([this] { return !stored("testvm").snapshot_work; }));
    EXPECT_EQ(vm("testvm")->pid(), pid);
    EXPECT_EQ(state("testvm"), "running/");
    EXPECT_THAT(vm("testvm")->snapshots(), IsEmpty());
    stop();
    EXPECT_THAT(in_disk(), IsEmpty());
}

}  // namespace
}  // namespace noxsup::vm
