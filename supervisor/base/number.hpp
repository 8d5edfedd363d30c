// Texts of the kernel and of other programs that are a number and nothing else.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace noxsup {

/// Nothing for an empty text, one that goes on behind the number, and one out of Number's range.
template <class Number>
std::optional<Number> whole_number(std::string_view text, int base = 10) {
    Number value = 0;
    const auto* const end = text.data() + text.size();
    const auto [stop, failure] = std::from_chars(text.data(), end, value, base);
    if (failure != std::errc() || stop != end) return std::nullopt;
    return value;
}

}  // namespace noxsup
