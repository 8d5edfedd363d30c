#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "supervisor/launch/host_facts.hpp"
#include "tests/support/sample_spec.hpp"

namespace noxsup::launch {
namespace {

using spec::Arch;
using testing::Contains;
using testing::HasSubstr;

constexpr const char* version_7 =
    "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) 2003-2022 "
    "Fabrice Bellard\n";

TEST(QemuBinaryTest, FollowsTheAlias) {
    const auto arm =
        parse_qemu("/usr/bin/qemu-system-aarch64", Arch::arm64, version_7,
                   "Supported machines are:\n"
                   "virt-7.1             QEMU 7.1 ARM Virtual Machine\n"
                   "virt                 QEMU 7.2 ARM Virtual Machine (alias of virt-7.2)\n"
                   "virt-7.2             QEMU 7.2 ARM Virtual Machine\n"
                   "xlnx-versal-virt     Xilinx Versal Virtual development board\n");
    ASSERT_TRUE(arm) << arm.error().message;
    EXPECT_EQ(arm->version, "7.2.22");
    EXPECT_EQ(arm->machine, "virt-7.2");
    EXPECT_THAT(arm->machines, Contains("virt-7.1"));
    EXPECT_TRUE(arm->supports("virt-7.1"));
    EXPECT_FALSE(arm->supports("virt-7.0"));
    const auto amd =
        parse_qemu("/q", Arch::amd64, version_7,
                   "pc                   Standard PC (alias of pc-i440fx-7.2)\n"
                   "q35                  Standard PC (Q35 + ICH9, 2009) (alias of pc-q35-7.2)\n"
                   "pc-q35-7.2           Standard PC (Q35 + ICH9, 2009)\n");
    ASSERT_TRUE(amd) << amd.error().message;
    EXPECT_EQ(amd->machine, "pc-q35-7.2");
}

TEST(QemuBinaryTest, WithoutAnAliasTheNewestVersionCounts) {
    const auto arm = parse_qemu("/q", Arch::arm64, "QEMU emulator version 10.0.2\n",
                                "virt-9.2 x\nvirt-10.0 x\nvirt-10.0-rpi x\nvirt-9.10 x\n");
    ASSERT_TRUE(arm) << arm.error().message;
    EXPECT_EQ(arm->version, "10.0.2");
    EXPECT_EQ(arm->machine, "virt-10.0");
}

TEST(QemuBinaryTest, OutputOfAnotherProgramIsRefused) {
    EXPECT_THAT(parse_qemu("/bin/true", Arch::arm64, "", "").error().message,
                HasSubstr("/bin/true names no version"));
    EXPECT_THAT(parse_qemu("/q", Arch::arm64, version_7, "none  empty machine\n").error().message,
                HasSubstr("no machine type"));
}

TEST(QemuBinaryTest, AGicv2LimitsTheCpusOfKvmGuestsOnly) {
    HostFacts facts;
    facts.gic_version = 2;
    auto spec = test::sample_spec(Arch::arm64);
    EXPECT_EQ(max_cpus(spec, facts), spec::max_cpus);
    spec.accel = spec::Accel::kvm;
    EXPECT_EQ(max_cpus(spec, facts), 8U);
    facts.gic_version = 3;
    EXPECT_EQ(max_cpus(spec, facts), spec::max_cpus);
}

}  // namespace
}  // namespace noxsup::launch
