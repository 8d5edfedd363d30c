// Times as users write them: "90", "90s", "5m", "1h30m".
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "supervisor/base/result.hpp"

namespace noxsup::cli {

/// A bare number is seconds; units are ms, s, m, h, d, largest first or not. At most 30 days.
/// @param flag names the value in errors: "--timeout". Errors: invalid_argument.
Result<std::chrono::milliseconds> parse_duration(std::string_view text, std::string_view flag);

/// "0.4 s", "12 s", "3 min 05 s".
std::string format_seconds(double seconds);

}  // namespace noxsup::cli
