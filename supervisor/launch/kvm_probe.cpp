#include "supervisor/launch/kvm_probe.hpp"

#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "supervisor/base/file.hpp"
#include "supervisor/base/pipe.hpp"
#include "supervisor/base/process.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/launch/kvm_guest.hpp"

namespace noxsup::launch {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Slower than this an iteration is no longer run by a processor. Measured: natively below 1 ns,
/// with KVM inside a host that is emulated as a whole 31 to 38 ns (most of it the exit), through an
/// instruction emulator over 1000 ns.
constexpr double emulation_ns = 200;
/// And the host itself is not as slow.
constexpr double emulation_ratio = 20;

/// The child: nothing of ours stays open in it, so that a child that cannot be killed holds no
/// lock.
[[noreturn]] void run_child(const char* device, int result) {
    if (::dup2(result, 0) >= 0) ::syscall(SYS_close_range, 1U, ~0U, 0U);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const auto timing = time_guest_loops(device);
    const auto written = ::write(0, &timing, sizeof(timing));
    ::_exit(written == sizeof(timing) ? 0 : 1);
}

struct Helper {
    pid_t pid = -1;
    UniqueFd pidfd;
    UniqueFd result;
};

Result<Helper> fork_helper(const char* device) {
    NOXSUP_TRY_VALUE(auto pipe, make_pipe());
    Helper helper;
    helper.result = std::move(pipe.read_end);
    helper.pid = ::fork();
    if (helper.pid < 0) return errno_error("fork", errno);
    if (helper.pid == 0) run_child(device, pipe.write_end.get());
    // Not yet reaped, so the pid is still the child's.
    auto pidfd = open_pidfd(helper.pid);
    if (pidfd) helper.pidfd = std::move(*pidfd);
    return helper;
}

bool readable_within(int fd, milliseconds limit) {
    const auto end = steady_clock::now() + limit;
    for (;;) {
        const auto left = std::chrono::ceil<milliseconds>(end - steady_clock::now()).count();
        pollfd entry{fd, POLLIN, 0};
        const int ready = ::poll(&entry, 1, static_cast<int>(std::max<long long>(left, 0)));
        if (ready > 0) return true;
        if (ready == 0 || errno != EINTR) return false;
    }
}

/// Kills and reaps; a child stuck in the kernel is given up after 100 ms and left as a
/// zombie-to-be.
void end_helper(const Helper& helper) {
    ::kill(helper.pid, SIGKILL);
    if (helper.pidfd && !readable_within(helper.pidfd.get(), milliseconds(100))) return;
    ::waitpid(helper.pid, nullptr, helper.pidfd ? WNOHANG : 0);
}

/// What the child measured; nothing when it did not answer in time, or died.
std::optional<GuestTiming> collect(const Helper& helper, milliseconds deadline) {
    GuestTiming timing;
    if (!readable_within(helper.result.get(), deadline)) return std::nullopt;
    const auto got = ::read(helper.result.get(), &timing, sizeof(timing));
    if (got != static_cast<ssize_t>(sizeof(timing))) return std::nullopt;
    return timing;
}

KvmReport unusable(std::string reason, std::string hint) {
    KvmReport report;
    report.reason = std::move(reason);
    report.hint = std::move(hint);
    return report;
}

std::string step_name(GuestStep step) {
    switch (step) {
        case GuestStep::open_device:
            return "open";
        case GuestStep::check_version:
            return "KVM_GET_API_VERSION";
        case GuestStep::create_vm:
            return "KVM_CREATE_VM";
        case GuestStep::map_memory:
            return "KVM_SET_USER_MEMORY_REGION";
        case GuestStep::create_vcpu:
            return "KVM_CREATE_VCPU";
        case GuestStep::set_registers:
            return "setting the registers of a vCPU";
        case GuestStep::run:
            return "KVM_RUN";
        case GuestStep::unexpected_exit:
            return "guest code";
        case GuestStep::done:
            break;
    }
    return "the probe";
}

KvmReport report_failure(const std::string& device, const GuestTiming& timing) {
    if (timing.step == GuestStep::unexpected_exit) {
        return unusable(
            device + ": guest code ended with exit reason " + std::to_string(timing.error),
            "see the kernel's log: dmesg | grep -i kvm");
    }
    const auto reason = device + ": " + step_name(timing.step) + ": " + std::strerror(timing.error);
    if (timing.step != GuestStep::open_device) {
        return unusable(reason, "see the kernel's log: dmesg | grep -i kvm");
    }
    switch (timing.error) {
        case ENOENT:
        case ENODEV:
        case ENXIO:
            return unusable(reason,
                            "switch virtualization on in the host's firmware, then: modprobe kvm");
        case EACCES:
        case EPERM:
            return unusable(reason, "add yourself to group kvm: sudo usermod -aG kvm $USER");
        default:
            return unusable(reason, {});
    }
}

std::string nanoseconds(double value) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1f ns", value);
    return text.data();
}

}  // namespace

KvmReport judge_timing(const std::string& device, const GuestTiming& timing) {
    if (timing.step != GuestStep::done) return report_failure(device, timing);
    KvmReport report;
    // The fastest round: the others may hold page faults or another process's time slice.
    const auto fastest = *std::ranges::min_element(timing.round_ns);
    report.guest_loop_ns = static_cast<double>(fastest) / iterations_per_round;
    report.host_loop_ns = static_cast<double>(timing.host_round_ns) / iterations_per_round;
    const auto figures = nanoseconds(report.guest_loop_ns) + " a loop in the guest, " +
                         nanoseconds(report.host_loop_ns) + " on the host";
    if (report.guest_loop_ns > std::max(emulation_ns, emulation_ratio * report.host_loop_ns)) {
        report.verdict = KvmVerdict::emulated;
        report.reason = device + " only emulates: " + figures;
        report.hint =
            "run this host on hardware or with nested virtualization; TCG is used meanwhile";
    } else {
        report.verdict = KvmVerdict::native;
        report.reason = device + " runs guests on the processor: " + figures;
    }
    return report;
}

std::string_view to_string(KvmVerdict verdict) {
    switch (verdict) {
        case KvmVerdict::native:
            return "native";
        case KvmVerdict::emulated:
            return "emulated";
        case KvmVerdict::unusable:
            break;
    }
    return "unusable";
}

KvmReport probe_kvm(const std::filesystem::path& device, milliseconds deadline) {
    const auto helper = fork_helper(device.c_str());
    if (!helper) return unusable("probe " + device.string() + ": " + helper.error().message, {});
    const auto timing = collect(*helper, deadline);
    end_helper(*helper);
    if (!timing) {
        return unusable(device.string() + ": guest code did not end within " +
                            std::to_string(deadline.count()) + " ms",
                        "see the kernel's log: dmesg | grep -i kvm");
    }
    return judge_timing(device.string(), *timing);
}

KvmReport probe_kvm_cached(const std::filesystem::path& cache_file, const std::string& boot_id,
                           const std::filesystem::path& device) {
    constexpr std::size_t cache_limit = 65536;
    if (const auto text = read_file(cache_file, cache_limit)) {
        const auto json = parse_json(*text);
        const auto same = [&](const char* key, const std::string& value) {
            const auto member = json_member<std::string>(*json, key);
            return member && *member == value;
        };
        if (json && same("boot_id", boot_id) && same("device", device.string())) {
            auto report = kvm_report_from_json(*json);
            if (report && report->verdict != KvmVerdict::unusable) return *report;
        }
    }
    auto report = probe_kvm(device);
    if (report.verdict != KvmVerdict::unusable) {
        auto json = to_json(report);
        json["boot_id"] = boot_id;
        json["device"] = device.string();
        // A cache that cannot be written costs the next probe's milliseconds, nothing else.
        (void)write_file_atomic(cache_file, dump_json(json) + "\n", 0600);
    }
    return report;
}

Json to_json(const KvmReport& report) {
    return {{"verdict", to_string(report.verdict)},
            {"reason", report.reason},
            {"hint", report.hint},
            {"guest_loop_ns", report.guest_loop_ns},
            {"host_loop_ns", report.host_loop_ns}};
}

Result<KvmReport> kvm_report_from_json(const Json& json) {
    KvmReport report;
    NOXSUP_TRY_VALUE(const auto verdict, json_member<std::string>(json, "verdict"));
    NOXSUP_TRY_VALUE(report.reason, json_member<std::string>(json, "reason"));
    NOXSUP_TRY_VALUE(report.hint, json_member<std::string>(json, "hint"));
    NOXSUP_TRY_VALUE(report.guest_loop_ns, json_member<double>(json, "guest_loop_ns"));
    NOXSUP_TRY_VALUE(report.host_loop_ns, json_member<double>(json, "host_loop_ns"));
    for (const auto known : {KvmVerdict::native, KvmVerdict::emulated, KvmVerdict::unusable}) {
        if (to_string(known) == verdict) {
            report.verdict = known;
            return report;
        }
    }
    return Error{ErrorCode::protocol_error,
                 "unknown verdict \"" + escape_for_terminal(verdict) + "\""};
}

}  // namespace noxsup::launch
