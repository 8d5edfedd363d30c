// How fast a VM's network card may be: `--rate 100M`.
#pragma once

#include <cstdint>
#include <string_view>

#include "supervisor/base/result.hpp"

namespace noxsup::netbridge {

/// Bits a second. Less than the first starves ARP; more than the second no card has.
inline constexpr std::uint64_t min_rate = 64'000;
inline constexpr std::uint64_t max_rate = 400'000'000'000;

/// Parses "64k", "100M", "2.5G", each also with "bit" or "bit/s" behind it; 1000-based, as network
/// rates are. Errors: invalid_argument with the form that is meant.
Result<std::uint64_t> parse_rate(std::string_view text);

}  // namespace noxsup::netbridge
