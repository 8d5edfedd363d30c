#include "netbridge/rate.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <utility>

namespace noxsup::netbridge {
namespace {

constexpr std::array<std::pair<char, double>, 3> units{{{'k', 1e3}, {'M', 1e6}, {'G', 1e9}}};

Error not_a_rate(std::string_view text) {
    return {ErrorCode::invalid_argument, "--rate " + std::string(text) + " is no rate",
            "say it in bits a second: 64k to 400G, such as 100M or 2.5G"};
}

void drop_suffix(std::string_view& text, std::string_view suffix) {
    if (text.ends_with(suffix)) text.remove_suffix(suffix.size());
}

}  // namespace

Result<std::uint64_t> parse_rate(std::string_view text) {
    auto rest = text;
    drop_suffix(rest, "/s");
    drop_suffix(rest, "bit");
    double unit = 0;
    for (const auto& [letter, size] : units) {
        if (rest.ends_with(letter)) unit = size;
    }
    // A bare number could be meant in any of them.
    if (unit == 0) return not_a_rate(text);
    rest.remove_suffix(1);
    double number = 0;
    const auto* end = rest.data() + rest.size();
    const auto read = std::from_chars(rest.data(), end, number, std::chars_format::fixed);
    if (read.ec != std::errc() || read.ptr != end || !std::isfinite(number))
        return not_a_rate(text);
    const double bits = number * unit;
    if (bits < static_cast<double>(min_rate) || bits > static_cast<double>(max_rate))
        return not_a_rate(text);
    return static_cast<std::uint64_t>(std::llround(bits));
}

}  // namespace noxsup::netbridge
