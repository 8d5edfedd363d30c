#include "supervisor/launch/privilege.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/sample_spec.hpp"

namespace noxsup::launch {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;
using testing::StrEq;

constexpr uid_t uid = 70'001;
constexpr DeviceRights kvm_of_group{108, 0660};

spec::VmSpec kvm_spec() {
    auto spec = test::sample_spec();
    spec.accel = spec::Accel::kvm;
    return spec;
}

std::vector<std::string> names_of(const std::vector<ChildStep>& steps) {
    std::vector<std::string> names;
    for (const auto& step : steps) names.emplace_back(step.name);
    return names;
}

TEST(ConfinementTest, TheGroupOfKvmComesWithKvmAlone) {
    EXPECT_THAT(plan_confinement(kvm_spec(), uid, kvm_of_group)->groups, ElementsAre(108));
    EXPECT_THAT(plan_confinement(test::sample_spec(), uid, kvm_of_group)->groups, IsEmpty());
    EXPECT_THAT(plan_confinement(kvm_spec(), std::nullopt, kvm_of_group)->groups, IsEmpty());
}

TEST(ConfinementTest, TheGroupOfRootIsNeverGiven) {
    const auto open = plan_confinement(kvm_spec(), uid, DeviceRights{0, 0666});
    ASSERT_TRUE(open) << open.error().message;
    EXPECT_THAT(open->groups, IsEmpty());
    for (const auto rights :
         {DeviceRights{0, 0600}, DeviceRights{0, 0660}, DeviceRights{108, 0600}}) {
        const auto closed = plan_confinement(kvm_spec(), uid, rights);
        ASSERT_FALSE(closed);
        EXPECT_EQ(closed.error().code, ErrorCode::host_lacks_right);
        EXPECT_THAT(closed.error().hint, testing::HasSubstr("chgrp kvm /dev/kvm"));
    }
    // Who runs QEMU as himself gets in by his own rights, or hears QEMU's own words.
    EXPECT_TRUE(plan_confinement(kvm_spec(), std::nullopt, DeviceRights{0, 0600}));
}

TEST(ConfinementTest, ADiskFitsWithItsTablesAndItsRamState) {
    const auto spec = test::sample_spec();
    const auto plan = plan_confinement(spec, uid, std::nullopt);
    ASSERT_TRUE(plan);
    EXPECT_GT(*plan->max_file_bytes,
              spec.disk.virtual_bytes + spec.disk.virtual_bytes / 5'800 + spec.memory_bytes);
    EXPECT_LT(*plan->max_file_bytes,
              spec.disk.virtual_bytes + spec.memory_bytes + 512 * spec::mebibyte);
    auto largest = spec;
    largest.disk.virtual_bytes = spec::max_disk_bytes;
    largest.memory_bytes = spec::max_memory_bytes;
    EXPECT_GT(*plan_confinement(largest, uid, std::nullopt)->max_file_bytes, spec::max_disk_bytes);
}

TEST(ConfinementTest, TasksAreLimitedForAnOwnUidAlone) {
    EXPECT_GT(*plan_confinement(kvm_spec(), uid, kvm_of_group)->max_tasks, kvm_spec().cpus + 64);
    EXPECT_FALSE(plan_confinement(kvm_spec(), std::nullopt, kvm_of_group)->max_tasks);
}

TEST(ConfinementTest, TheUserChangesAfterTheLimitsAndBeforeNoNewPrivs) {
    auto plan = *plan_confinement(kvm_spec(), uid, kvm_of_group);
    const auto names = names_of(child_steps(plan));
    const auto at = [&](const char* name) { return std::ranges::find(names, name); };
    EXPECT_LT(at("limit tasks"), at("set the groups"));
    EXPECT_LT(at("set the groups"), at("change the gid"));
    EXPECT_LT(at("change the gid"), at("change the uid"));
    EXPECT_LT(at("change the uid"), at("drop capabilities"));
    EXPECT_EQ(names.back(), "set no_new_privs");
    plan.uid.reset();
    EXPECT_THAT(names_of(child_steps(plan)), Not(Contains(StrEq("change the uid"))));
    EXPECT_THAT(names_of(child_steps(plan)), Contains(StrEq("set no_new_privs")));
}

}  // namespace
}  // namespace noxsup::launch
