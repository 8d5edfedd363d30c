// Leaves and limits in a directory that looks like a cgroup; the real tree is tests/target's.
#include "supervisor/launch/cgroup.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/sample_spec.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::launch {
namespace {

using testing::HasSubstr;

class CgroupTest : public testing::Test {
  protected:
    CgroupTest() {
        dir_.write("unit/cgroup.procs", "");
        dir_.write("unit/cgroup.subtree_control", "");
        dir_.write("unit/supervisor/cgroup.procs", "");
    }
    /// The kernel fills a new leaf with files; here the test does, before it is made.
    void expect_leaf(const std::string& id) {
        for (const auto* file : {"cgroup.procs", "memory.max", "pids.max", "cpu.max"}) {
            dir_.write("unit/vm-" + id + "/" + file, "");
        }
    }
    std::string content(const std::string& file) { return test::slurp(dir_ / ("unit/" + file)); }

    test::TempDir dir_;
    const CgroupLimits limits_{.memory_bytes = 1 << 20, .tasks = 77, .cpu_percent = 250};
};

TEST(CgroupPathTest, IsThatOfTheSecondVersion) {
    EXPECT_EQ(parse_own_cgroup("0::/system.slice/noxsup.service\n"),
              "/system.slice/noxsup.service");
    EXPECT_EQ(parse_own_cgroup("1:name=systemd:/x\n0::/\n"), "/");
    EXPECT_FALSE(parse_own_cgroup("4:memory:/docker/1\n1:name=systemd:/docker/1\n"));
    EXPECT_FALSE(parse_own_cgroup(""));
}

TEST(CgroupLimitsTest, LeaveRoomBesideTheGuest) {
    auto spec = test::sample_spec();
    spec.accel = spec::Accel::kvm;
    const auto kvm = cgroup_limits(spec);
    EXPECT_GT(kvm.memory_bytes, spec.memory_bytes + 256 * spec::mebibyte);
    EXPECT_LT(kvm.memory_bytes, spec.memory_bytes + 512 * spec::mebibyte);
    EXPECT_EQ(kvm.cpu_percent, 300U) << "two CPUs, and one for QEMU's own threads";
    spec.accel = spec::Accel::tcg;
    EXPECT_EQ(cgroup_limits(spec).memory_bytes, kvm.memory_bytes + 1024 * spec::mebibyte);
}

TEST_F(CgroupTest, TheSupervisorMovesIntoALeafOfItsOwn) {
    dir_.write("unit/cgroup.procs", "4711\n");
    const auto tree = CgroupTree::take(dir_ / "unit");
    EXPECT_EQ(tree.why_none(), "");
    EXPECT_EQ(content("supervisor/cgroup.procs"), "4711");
    EXPECT_EQ(content("cgroup.subtree_control"), "+cpu +memory +pids");
}

TEST_F(CgroupTest, AVmGetsALeafWithItsLimits) {
    const auto tree = CgroupTree::take(dir_ / "unit");
    expect_leaf("3f2a9c41");
    const auto entry = tree.make_leaf("3f2a9c41", limits_);
    ASSERT_TRUE(entry) << entry.error().message;
    EXPECT_EQ(content("vm-3f2a9c41/memory.max"), "1048576");
    EXPECT_EQ(content("vm-3f2a9c41/pids.max"), "77");
    EXPECT_EQ(content("vm-3f2a9c41/cpu.max"), "250000 100000");
    EXPECT_EQ(content("vm-3f2a9c41/cgroup.procs"), "");
    EXPECT_EQ(cgroup_step(entry->get()).act(), 0);
    EXPECT_EQ(content("vm-3f2a9c41/cgroup.procs"), "0") << "the child itself";
}

TEST_F(CgroupTest, WhatCannotBeDoneIsToldAndNeverFatal) {
    EXPECT_THAT(CgroupTree::take(dir_ / "nowhere").why_none(), HasSubstr("nowhere"));
    std::filesystem::remove(dir_ / "unit/cgroup.subtree_control");
    EXPECT_THAT(CgroupTree::take(dir_ / "unit").why_none(), HasSubstr("subtree_control"));
    EXPECT_NE(CgroupTree().why_none(), "");
    EXPECT_EQ(CgroupTree().oom_kills("3f2a9c41"), 0U);
}

TEST_F(CgroupTest, KillsForWantOfMemoryAreCounted) {
    const auto tree = CgroupTree::take(dir_ / "unit");
    EXPECT_EQ(tree.oom_kills("3f2a9c41"), 0U);
    dir_.write("unit/vm-3f2a9c41/memory.events",
               "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n");
    EXPECT_EQ(tree.oom_kills("3f2a9c41"), 2U);
}

TEST_F(CgroupTest, AnEmptyLeafIsRemovedAndAMissingOneIsFine) {
    const auto tree = CgroupTree::take(dir_ / "unit");
    std::filesystem::create_directory(tree.leaf("1"));
    tree.remove_leaf("1");
    EXPECT_FALSE(std::filesystem::exists(tree.leaf("1")));
    tree.remove_leaf("1");
}

}  // namespace
}  // namespace noxsup::launch
