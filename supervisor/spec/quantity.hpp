// Amounts as users write them: sizes, CPU counts and shares of the host.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "supervisor/base/result.hpp"

namespace noxsup::spec {

/// What a bare number means on a flag: MiB for --ram, GiB for --disk.
enum class SizeUnit { mebibytes, gibibytes };

/// An absolute amount (bytes, CPUs), or a share of what the host has (greater than 0, at most 1).
struct Amount {
    std::uint64_t absolute = 0;   ///< meaningful without a share
    std::optional<double> share;  ///< 0.5 for "0.5" and "50%"
    bool operator==(const Amount&) const = default;
};

/// Parses "512M", "1.5G", "2T", "1073741824B" (1024-based; "MiB" and "MB" mean M; any case), a bare
/// integer in `unit`, or a share "0.5" / "50%". "1.0" is refused with both spellings offered.
/// @param flag names the value in errors: "--ram"
/// Errors: invalid_size.
Result<Amount> parse_size(std::string_view text, SizeUnit unit, std::string_view flag);

/// Parses "4" (CPUs) or a share "0.5" / "50%". Errors: cpus_out_of_range (0 included).
Result<Amount> parse_cpus(std::string_view text, std::string_view flag);

/// The amount in bytes; a share is taken of `host_bytes` and rounded down to a whole MiB, at least
/// one.
std::uint64_t resolve_size(const Amount& amount, std::uint64_t host_bytes);

/// The number of CPUs; a share of `host_cpus` is rounded to the nearest, at least one.
unsigned resolve_cpus(const Amount& amount, unsigned host_cpus);

}  // namespace noxsup::spec
