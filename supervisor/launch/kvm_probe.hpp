// Finds out whether /dev/kvm runs guest code on the processor, by running some against the clock.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::launch {

struct GuestTiming;

enum class KvmVerdict {
    native,    ///< guest code runs on the processor
    emulated,  ///< it runs, but through an instruction emulator: slower than TCG
    unusable,  ///< absent, forbidden, refused or hanging; `reason` says which
};

std::string_view to_string(KvmVerdict verdict);

struct KvmReport {
    KvmVerdict verdict = KvmVerdict::unusable;
    std::string reason;        ///< one line for people
    std::string hint;          ///< what to do about it, or empty
    double guest_loop_ns = 0;  ///< time of one loop iteration in the guest; 0 when none ran
    double host_loop_ns = 0;   ///< and of the same loop on the host
};

/// Runs 20,000 loop iterations in a vCPU, in a short-lived child process that is killed at the
/// deadline, so that a hanging ioctl cannot hang the caller. Blocks for 1 ms (native) to 30 ms
/// (emulated), at most for the deadline and 100 ms more.
/// @param device "/dev/kvm", or a test's stand-in
KvmReport probe_kvm(const std::filesystem::path& device = "/dev/kvm",
                    std::chrono::milliseconds deadline = std::chrono::milliseconds(500));

/// The same, once a boot: the report is kept in `cache_file` under `boot_id` and read from there.
/// An unusable verdict is never taken from the cache, since rights and modules change.
KvmReport probe_kvm_cached(const std::filesystem::path& cache_file, const std::string& boot_id,
                           const std::filesystem::path& device = "/dev/kvm");

/// The verdict on what a guest's rounds took. Pure.
KvmReport judge_timing(const std::string& device, const GuestTiming& timing);

Json to_json(const KvmReport& report);
/// Errors: protocol_error.
Result<KvmReport> kvm_report_from_json(const Json& json);

}  // namespace noxsup::launch
