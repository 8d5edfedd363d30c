#include "supervisor/cli/duration.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

namespace noxsup::cli {
namespace {

constexpr double max_milliseconds = 30.0 * 86'400'000;

double unit_milliseconds(std::string_view unit) {
    constexpr std::array<std::pair<std::string_view, double>, 6> units = {
        {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
    for (const auto& [name, milliseconds] : units) {
        if (name == unit) return milliseconds;
    }
    return -1;
}

}  // namespace

Result<std::chrono::milliseconds> parse_duration(std::string_view text, std::string_view flag) {
    const Error error(ErrorCode::invalid_argument,
                      std::string(flag) + " " + std::string(text) + " is no time",
                      "write it as 90s, 5m or 1h30m, at most 30d");
    double total = 0;
    auto rest = text;
    if (rest.empty()) return error;
    while (!rest.empty()) {
        double number = 0;
        if (rest.front() < '0' || rest.front() > '9') return error;
        const auto [end, failure] = std::from_chars(rest.data(), rest.data() + rest.size(), number,
                                                    std::chars_format::fixed);
        if (failure != std::errc()) return error;
        rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
        const auto unit = rest.substr(0, rest.find_first_of("0123456789"));
        const auto factor = unit_milliseconds(unit);
        // A bare number stands alone: "5m30" would be anybody's guess.
        if (factor < 0 || (unit.empty() && end - text.data() != std::ssize(text))) return error;
        if (unit.empty() && total > 0) return error;
        rest.remove_prefix(unit.size());
        total += number * factor;
        if (total > max_milliseconds) return error;
    }
    return std::chrono::milliseconds(std::llround(total));
}

std::string format_seconds(double seconds) {
    std::array<char, 48> text{};
    if (seconds < 9.95) {
        std::snprintf(text.data(), text.size(), "%.1f s", seconds);
    } else if (seconds < 59.5) {
        std::snprintf(text.data(), text.size(), "%.0f s", seconds);
    } else {
        const auto whole = std::llround(seconds);
        std::snprintf(text.data(), text.size(), "%lld min %02lld s", whole / 60, whole % 60);
    }
    return text.data();
}

}  // namespace noxsup::cli
