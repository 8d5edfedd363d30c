#include "supervisor/launch/host_facts.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <boost/asio.hpp>

#include "tests/support/run_async.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::launch {
namespace {

using testing::HasSubstr;

/// A Raspberry Pi 5, as far as the facts go.
void write_pi(const test::TempDir& root) {
    root.write("proc/meminfo",
               "MemTotal:        8245000 kB\nMemFree: 1 kB\nMemAvailable:    6000000 kB\n");
    root.write("proc/sys/kernel/random/boot_id", "0e9f0f4e-4f0f-4c53-9d0a-0d4a4a6c8a11\n");
    root.write("sys/devices/system/cpu/online", "0-3\n");
    root.write("proc/interrupts",
               "           CPU0       CPU1\n  9:          0          0 GICv2  25 Level     vgic\n"
               " 11:          0          0 GICv2  30 Level     kvm guest ptimer\n");
    root.write("dev/kvm", "");
}

TEST(HostFactsTest, ReadsAPi) {
    const test::TempDir root;
    write_pi(root);
    const auto facts = read_host_facts(root.path());
    ASSERT_TRUE(facts) << facts.error().message;
    EXPECT_EQ(facts->cpus, 4U);
    EXPECT_EQ(facts->memory_total_bytes, 8245000ULL * 1024);
    EXPECT_EQ(facts->memory_available_bytes, 6000000ULL * 1024);
    EXPECT_EQ(facts->boot_id, "0e9f0f4e-4f0f-4c53-9d0a-0d4a4a6c8a11");
    EXPECT_EQ(facts->gic_version, 2);
    EXPECT_TRUE(facts->vgic);
    EXPECT_TRUE(facts->kvm_present);
    EXPECT_TRUE(facts->kvm_accessible);
    EXPECT_FALSE(facts->vhost_net_accessible);
}

TEST(HostFactsTest, AKernelWithoutVgicIsSeen) {
    const test::TempDir root;
    write_pi(root);
    root.write("proc/interrupts", " 11:  0  GICv3  30 Level     arch_timer\n");
    const auto facts = read_host_facts(root.path());
    ASSERT_TRUE(facts);
    EXPECT_EQ(facts->gic_version, 3);
    EXPECT_FALSE(facts->vgic);
}

TEST(HostFactsTest, CpuListsAreCounted) {
    const test::TempDir root;
    write_pi(root);
    root.write("sys/devices/system/cpu/online", "0,2-3,8-11\n");
    EXPECT_EQ(read_host_facts(root.path())->cpus, 7U);
    root.write("sys/devices/system/cpu/online", "nonsense\n");
    EXPECT_GE(read_host_facts(root.path())->cpus, 1U) << "then the C library's count";
}

TEST(HostFactsTest, WithoutProcThereIsAnError) {
    const test::TempDir root;
    const auto facts = read_host_facts(root.path());
    ASSERT_FALSE(facts);
    EXPECT_THAT(facts.error().message, HasSubstr("meminfo"));
}

TEST(HostFactsTest, ReadsThisHost) {
    const auto facts = read_host_facts();
    ASSERT_TRUE(facts) << facts.error().message;
    EXPECT_GE(facts->cpus, 1U);
    EXPECT_GT(facts->memory_total_bytes, facts->memory_available_bytes);
    EXPECT_EQ(facts->boot_id.size(), 36U);
}

/// Answers --version and -machine help, and counts.
class FakeQemu final : public CommandRunner {
  public:
    boost::asio::awaitable<Result<CommandOutput>> run(Command command) override {
        ++runs;
        CommandOutput output;
        output.status.exit_code = exit_code;
        output.out = command.argv.at(1) == "--version" ? "QEMU emulator version 7.2.22\n"
                                                       : "virt  x (alias of virt-7.2)\n";
        output.err = "some words";
        co_return output;
    }
    int runs = 0;
    int exit_code = 0;
};

class FindQemuTest : public testing::Test {
  protected:
    void install() {
        const auto path = root_.write("usr/bin/qemu-system-aarch64", "#!");
        ::chmod(path.c_str(), 0755);
    }
    Result<QemuBinary> find() {
        return test::run_async(context_, find_qemu(runner_, spec::Arch::arm64, root_.path()));
    }

    test::TempDir root_;
    boost::asio::io_context context_;
    FakeQemu runner_;
};

TEST_F(FindQemuTest, AMissingQemuNamesThePackage) {
    const auto missing = find();
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, ErrorCode::host_lacks_qemu);
    EXPECT_EQ(missing.error().hint, "sudo apt install qemu-system-arm");
}

TEST_F(FindQemuTest, AsksTheProgramThatIsThere) {
    install();
    const auto found = find();
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(found->path, root_ / "usr/bin/qemu-system-aarch64");
    EXPECT_EQ(found->machine, "virt-7.2");
    EXPECT_EQ(runner_.runs, 2);
}

TEST_F(FindQemuTest, AProgramThatFailsIsToldWithItsWords) {
    install();
    runner_.exit_code = 127;
    const auto broken = find();
    ASSERT_FALSE(broken);
    EXPECT_THAT(broken.error().message, HasSubstr("some words"));
}

TEST(FindQemuRealTest, FindsTheInstalledOnes) {
    ProcessRunner runner;
    boost::asio::io_context context;
    for (const auto arch : {spec::Arch::arm64, spec::Arch::amd64}) {
        const auto binary = test::run_async(context, find_qemu(runner, arch));
        ASSERT_TRUE(binary) << binary.error().message;
        EXPECT_TRUE(binary->supports(binary->machine)) << binary->machine;
        EXPECT_THAT(binary->version, testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+"));
    }
}

}  // namespace
}  // namespace noxsup::launch
