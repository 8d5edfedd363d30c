// What a fenced process can open, tried by small programs; and that QEMU misses nothing in it.
#include "supervisor/launch/fence.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/component/supervisor/launch/qemu_fixture.hpp"

namespace noxsup::launch {
namespace {

using spec::Arch;
using testing::HasSubstr;
using testing::IsEmpty;

class FenceTest : public test::QemuTest {
  protected:
    void SetUp() override {
        if (landlock_abi() == 0) GTEST_SKIP() << "the kernel has no Landlock";
    }

    /// The exit code of a program behind the fence.
    int run_fenced(const FenceRequest& request, std::vector<std::string> arguments) {
        auto fence = make_fence(request);
        if (!fence) throw std::runtime_error(fence.error().message);
        SpawnSpec spec;
        spec.argv = {request.program};
        spec.argv.insert(spec.argv.end(), arguments.begin(), arguments.end());
        spec.inherit = request.reopened;
        auto steps = child_steps(Confinement());
        steps.push_back(fence_step(*fence));
        const auto child = spawn(context_.get_executor(), spec, steps);
        if (!child) throw std::runtime_error(child.error().message);
        test::wait_for_end(child->pidfd.get());
        return reap(child->pidfd.get())->exit_code.value_or(-1);
    }
    static FenceRequest cat() {
        FenceRequest request;
        request.program = "/usr/bin/cat";
        return request;
    }
};

TEST_F(FenceTest, SystemFilesAreReadableAndOthersAreNot) {
    const auto file = dir_.write("file", "text");
    EXPECT_EQ(run_fenced(cat(), {"/usr/share/common-licenses/GPL-2"}), 0);
    EXPECT_EQ(run_fenced(cat(), {"/proc/self/status"}), 0);
    for (const auto& path :
         {file.string(), std::string("/etc/passwd"), std::string("/proc/1/status")}) {
        EXPECT_EQ(run_fenced(cat(), {path}), 1) << path;
    }
}

TEST_F(FenceTest, ADescriptorsFileCanBeOpenedAgainOnlyWhereItWasNamed) {
    const UniqueFd file(::open(dir_.write("kernel", "text").c_str(), O_RDONLY | O_CLOEXEC));
    auto request = cat();
    const auto name = "/proc/self/fd/" + std::to_string(file.get());
    request.reopened = {file.get()};
    EXPECT_EQ(run_fenced(request, {name}), 0);
    auto other = cat();
    const UniqueFd unrelated(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    other.reopened = {unrelated.get()};
    EXPECT_EQ(run_fenced(other, {dir_ / "kernel"}), 1);
}

TEST_F(FenceTest, NameServersAreFoundBehindUserNetworkingAlone) {
    auto request = cat();
    EXPECT_EQ(run_fenced(request, {"/etc/nsswitch.conf"}), 1);
    request.user_network = true;
    EXPECT_EQ(run_fenced(request, {"/etc/nsswitch.conf"}), 0);
    request.program = "/usr/bin/ls";
    EXPECT_EQ(run_fenced(request, {"/etc"}), 2) << "no directory is listed for it";
}

TEST_F(FenceTest, NoOtherProgramIsRun) {
    FenceRequest request;
    request.program = "/usr/bin/env";
    EXPECT_EQ(run_fenced(request, {"/usr/bin/true"}), 126);
    request.program = "/usr/bin/true";
    EXPECT_EQ(run_fenced(request, {}), 0);
}

TEST_F(FenceTest, NothingIsMadeOrWritten) {
    FenceRequest request;
    request.program = "/usr/bin/touch";
    const auto file = dir_.write("file", "text");
    EXPECT_NE(run_fenced(request, {(dir_ / "new").string()}), 0);
    EXPECT_FALSE(std::filesystem::exists(dir_ / "new"));
    request.program = "/usr/bin/truncate";
    EXPECT_NE(run_fenced(request, {"-s", "0", file.string()}), 0);
    EXPECT_EQ(test::slurp(file), "text");
}

TEST_F(FenceTest, WhatQemuIsGivenComesFromTheVm) {
    auto spec = test::sample_bridge_spec(Arch::arm64);
    auto request = fence_request(spec, "/usr/bin/qemu", {-1, 5, -1});
    EXPECT_FALSE(request.user_network);
    EXPECT_FALSE(request.kvm);
    EXPECT_THAT(request.reopened, testing::ElementsAre(5));
    spec = test::sample_spec(Arch::arm64);
    spec.accel = spec::Accel::kvm;
    request = fence_request(spec, "/usr/bin/qemu", {});
    EXPECT_TRUE(request.user_network);
    EXPECT_TRUE(request.kvm);
}

}  // namespace
}  // namespace noxsup::launch
