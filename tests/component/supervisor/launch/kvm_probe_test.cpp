#include "supervisor/launch/kvm_probe.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/component/supervisor/launch/qemu_fixture.hpp"

namespace noxsup::launch {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

TEST(KvmProbeTest, SaysSomethingConsistentAboutThisHostAndLeavesNothing) {
    const auto before = test::count_open_fds();
    const auto begin = std::chrono::steady_clock::now();
    const auto report = probe_kvm();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
    EXPECT_FALSE(report.reason.empty());
    EXPECT_EQ(report.guest_loop_ns > 0, report.verdict != KvmVerdict::unusable) << report.reason;
    EXPECT_EQ(report.hint.empty(), report.verdict == KvmVerdict::native) << report.hint;
    EXPECT_EQ(test::count_open_fds(), before);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a zombie is left";
    std::cout << to_string(report.verdict) << ": " << report.reason << "\n";
}

TEST(KvmProbeTest, AnAbsentDeviceIsUnusable) {
    const auto report = probe_kvm("/nonexistent/kvm");
    EXPECT_EQ(report.verdict, KvmVerdict::unusable);
    EXPECT_THAT(report.reason, HasSubstr("/nonexistent/kvm: open: No such file"));
    EXPECT_THAT(report.hint, HasSubstr("modprobe kvm"));
}

TEST(KvmProbeTest, AnotherDeviceIsUnusable) {
    const auto report = probe_kvm("/dev/null");
    EXPECT_EQ(report.verdict, KvmVerdict::unusable);
    EXPECT_THAT(report.reason, HasSubstr("KVM_GET_API_VERSION"));
}

/// A file that nobody else can open while this lives: open(2) waits for the lease's holder, as it
/// would for a driver that hangs (fcntl(2), F_SETLEASE).
class HangingDevice {
  public:
    HangingDevice() : fd_(::open(path().c_str(), O_RDWR | O_CLOEXEC)) {
        // The kernel asks the holder to give way by SIGIO, which would end this process.
        before_ = ::signal(SIGIO, SIG_IGN);
        held_ = ::fcntl(fd_.get(), F_SETLEASE, F_WRLCK) == 0;
    }
    HangingDevice(const HangingDevice&) = delete;
    HangingDevice& operator=(const HangingDevice&) = delete;
    ~HangingDevice() {
        ::fcntl(fd_.get(), F_SETLEASE, F_UNLCK);
        ::signal(SIGIO, before_);
    }
    [[nodiscard]] std::filesystem::path path() const { return path_; }
    [[nodiscard]] bool held() const { return held_; }

  private:
    test::TempDir dir_;
    std::filesystem::path path_ = dir_.write("device", "");
    UniqueFd fd_;
    sighandler_t before_ = SIG_DFL;
    bool held_ = false;
};

TEST(KvmProbeTest, ADeadlineEndsIt) {
    const HangingDevice device;
    ASSERT_TRUE(device.held()) << "this file system has no leases";
    const auto report = probe_kvm(device.path(), 20ms);
    EXPECT_EQ(report.verdict, KvmVerdict::unusable);
    EXPECT_THAT(report.reason, HasSubstr("within 20 ms"));
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a zombie is left";
}

KvmReport emulated() {
    KvmReport report;
    report.verdict = KvmVerdict::emulated;
    report.reason = "from the cache";
    report.guest_loop_ns = 1000;
    return report;
}

TEST(KvmProbeCacheTest, IsUsedWithinOneBootAndForOneDevice) {
    const test::TempDir dir;
    auto json = to_json(emulated());
    json["boot_id"] = "boot-1";
    json["device"] = "/dev/null";
    const auto cache = dir.write("kvm.json", json.dump());
    EXPECT_EQ(probe_kvm_cached(cache, "boot-1", "/dev/null").reason, "from the cache");
    EXPECT_EQ(probe_kvm_cached(cache, "boot-2", "/dev/null").verdict, KvmVerdict::unusable);
    EXPECT_EQ(probe_kvm_cached(cache, "boot-1", "/dev/zero").verdict, KvmVerdict::unusable);
    EXPECT_EQ(test::slurp(cache), json.dump()) << "an unusable verdict is not kept";
}

TEST(KvmProbeCacheTest, ADamagedCacheIsNoCache) {
    const test::TempDir dir;
    for (const auto* text : {"", "{", "[]", "{\"boot_id\":\"b\",\"device\":\"/dev/null\"}"}) {
        const auto cache = dir.write("kvm.json", text);
        EXPECT_EQ(probe_kvm_cached(cache, "b", "/dev/null").verdict, KvmVerdict::unusable) << text;
    }
}

TEST(KvmProbeCacheTest, KeepsAVerdictThatWasMeasured) {
    const auto live = probe_kvm();
    if (live.verdict == KvmVerdict::unusable) GTEST_SKIP() << live.reason;
    const test::TempDir dir;
    const auto first = probe_kvm_cached(dir / "kvm.json", "boot-1");
    ASSERT_NE(first.verdict, KvmVerdict::unusable) << first.reason;
    EXPECT_EQ(to_json(probe_kvm_cached(dir / "kvm.json", "boot-1")), to_json(first));
}

}  // namespace
}  // namespace noxsup::launch
