#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "supervisor/launch/kvm_guest.hpp"
#include "supervisor/launch/kvm_probe.hpp"

namespace noxsup::launch {
namespace {

using testing::HasSubstr;

GuestTiming timing_of(double guest_loop_ns, double host_loop_ns) {
    GuestTiming timing;
    timing.step = GuestStep::done;
    timing.round_ns.fill(static_cast<std::uint64_t>(guest_loop_ns * iterations_per_round));
    timing.host_round_ns = static_cast<std::uint64_t>(host_loop_ns * iterations_per_round);
    return timing;
}

TEST(KvmJudgementTest, AProcessorIsNative) {
    const auto report = judge_timing("/dev/kvm", timing_of(0.8, 0.4));
    EXPECT_EQ(report.verdict, KvmVerdict::native);
    EXPECT_DOUBLE_EQ(report.guest_loop_ns, 0.8);
}

TEST(KvmJudgementTest, AnInstructionEmulatorIsNot) {
    const auto report = judge_timing("/dev/kvm", timing_of(1051, 0.4));
    EXPECT_EQ(report.verdict, KvmVerdict::emulated);
    EXPECT_THAT(report.reason, HasSubstr("only emulates: 1051.0 ns"));
}

TEST(KvmJudgementTest, AHostThatIsSlowAsAWholeIsStillNative) {
    EXPECT_EQ(judge_timing("/dev/kvm", timing_of(150, 20)).verdict, KvmVerdict::native);
    EXPECT_EQ(judge_timing("/dev/kvm", timing_of(450, 20)).verdict, KvmVerdict::emulated);
}

TEST(KvmJudgementTest, OneDisturbedRoundDoesNotCount) {
    auto timing = timing_of(0.8, 0.4);
    timing.round_ns[0] = 30'000'000;
    timing.round_ns[2] = 10'000'000;
    EXPECT_EQ(judge_timing("/dev/kvm", timing).verdict, KvmVerdict::native);
}

TEST(KvmJudgementTest, FailuresNameTheStepAndTheFix) {
    GuestTiming timing;
    timing.error = EACCES;
    auto report = judge_timing("/dev/kvm", timing);
    EXPECT_EQ(report.verdict, KvmVerdict::unusable);
    EXPECT_THAT(report.hint, HasSubstr("usermod -aG kvm"));
    timing.error = ENOENT;
    EXPECT_THAT(judge_timing("/dev/kvm", timing).hint, HasSubstr("modprobe kvm"));
    timing.step = GuestStep::create_vm;
    timing.error = EBUSY;
    EXPECT_THAT(judge_timing("/dev/kvm", timing).reason,
                HasSubstr("KVM_CREATE_VM: Device or resource busy"));
    timing.step = GuestStep::unexpected_exit;
    timing.error = 17;
    EXPECT_THAT(judge_timing("/dev/kvm", timing).reason, HasSubstr("exit reason 17"));
}

TEST(KvmReportTest, SurvivesJson) {
    const auto report = judge_timing("/dev/kvm", timing_of(1051, 0.4));
    const auto back = kvm_report_from_json(to_json(report));
    ASSERT_TRUE(back);
    EXPECT_EQ(to_json(*back), to_json(report));
    auto json = to_json(report);
    json["verdict"] = "perhaps";
    EXPECT_FALSE(kvm_report_from_json(json));
    EXPECT_FALSE(kvm_report_from_json(Json::array()));
}

}  // namespace
}  // namespace noxsup::launch
