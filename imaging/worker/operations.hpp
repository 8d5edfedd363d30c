// What the worker does; each runs confined and reports progress on standard output.
#pragma once

#include <filesystem>
#include <string>

#include "imaging/boot_report.hpp"
#include "imaging/worker.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging::worker {

/// @param certificates PEM text of all authorities, or empty for the system's
Result<FetchResult> fetch(const FetchRequest& request, const std::string& certificates);

Result<DigestResult> digest(int fd);

Result<std::uint64_t> unpack(const UnpackRequest& request);

/// @param qemu_img absolute path
Result<ImageFacts> convert(const ConvertRequest& request, const std::filesystem::path& qemu_img);

/// Returns the fingerprint of the key that signed. @param gpgv absolute path
Result<std::string> check_signature(const SignatureRequest& request,
                                    const std::filesystem::path& gpgv);

/// Errors: invalid_argument where the guest's boot is none that can be taken over, with the reason;
/// image_invalid, unreadable_file.
Result<BootReport> read_boot(const BootRequest& request);

/// How much memory qemu-img may use.
inline constexpr std::uint64_t qemu_img_memory = std::uint64_t{1} << 30;

}  // namespace noxsup::imaging::worker
