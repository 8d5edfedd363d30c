#include "supervisor/base/text.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>

namespace noxsup {
namespace {

/// Length of the well-formed UTF-8 sequence at the start of `text`, 0 when there is none.
std::size_t utf8_sequence_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const auto lead = byte(0);
    if (lead < 0x80) return 1;
    std::size_t length = 0;
    std::uint32_t point = 0;
    std::uint32_t smallest = 0;
    if ((lead & 0xe0) == 0xc0) {
        length = 2, point = lead & 0x1fU, smallest = 0x80;
    } else if ((lead & 0xf0) == 0xe0) {
        length = 3, point = lead & 0x0fU, smallest = 0x800;
    } else if ((lead & 0xf8) == 0xf0) {
        length = 4, point = lead & 0x07U, smallest = 0x10000;
    } else {
        return 0;
    }
    if (text.size() < length) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0) != 0x80) return 0;
        point = point << 6 | (byte(i) & 0x3fU);
    }
    const bool surrogate = point >= 0xd800 && point <= 0xdfff;
    return point < smallest || point > 0x10ffff || surrogate ? 0 : length;
}

constexpr std::string_view blanks = " \t\r\n";

}  // namespace

std::string escape_for_terminal(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    const auto escape = [&out](char c) {
        std::array<char, 5> buffer{};
        std::snprintf(buffer.data(), buffer.size(), "\\x%02x", static_cast<unsigned char>(c));
        out += buffer.data();
    };
    while (!text.empty()) {
        const auto length = utf8_sequence_length(text);
        const auto lead = static_cast<unsigned char>(text[0]);
        const bool control =
            (length == 1 && ((lead < 0x20 && lead != '\n' && lead != '\t') || lead == 0x7f)) ||
            (length == 2 && lead == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0);
        const auto take = length == 0 ? 1 : length;
        if (length == 0 || control) {
            for (std::size_t i = 0; i < take; ++i) escape(text[i]);
        } else {
            out += text.substr(0, take);
        }
        text.remove_prefix(take);
    }
    return out;
}

bool is_valid_utf8(std::string_view text) {
    while (!text.empty()) {
        const auto length = utf8_sequence_length(text);
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

std::string to_hex(std::span<const std::byte> bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    out.reserve(bytes.size() * 2);
    for (const auto b : bytes) {
        out += digits[std::to_integer<std::size_t>(b >> 4)];
        out += digits[std::to_integer<std::size_t>(b & std::byte{15})];
    }
    return out;
}

std::string_view trim(std::string_view text) {
    const auto first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> parts;
    if (text.empty()) return parts;
    std::size_t start = 0;
    for (auto at = text.find(separator); at != std::string_view::npos;
         at = text.find(separator, start)) {
        parts.emplace_back(text.substr(start, at - start));
        start = at + 1;
    }
    parts.emplace_back(text.substr(start));
    return parts;
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
    std::string out;
    for (const auto& part : parts) {
        if (&part != &parts.front()) out += separator;
        out += part;
    }
    return out;
}

std::vector<std::string> last_lines(std::string_view text, std::size_t count) {
    auto lines = split(text, '\n');
    while (!lines.empty() && trim(lines.back()).empty()) lines.pop_back();
    if (lines.size() > count)
        lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(count));
    return lines;
}

std::string shell_quoted(std::string_view word) {
    const bool plain = !word.empty() && std::ranges::all_of(word, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("-_./:=@%+,").find(c) != std::string_view::npos;
    });
    if (plain) return std::string(word);
    std::string quoted = "'";
    for (const char c : word) {
        if (c == '\'') {
            quoted += "'\\''";
        } else {
            quoted += c;
        }
    }
    return quoted + "'";
}

std::string ssh_config_quoted(std::string_view value) {
    std::string quoted = "\"";
    for (const char c : value) {
        if (c == '"' || c == '\\') quoted += '\\';
        if (c == '%') quoted += '%';
        quoted += c;
    }
    return quoted + '"';
}

std::string format_bytes(unsigned long long bytes) {
    constexpr std::array<const char*, 6> units{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    std::size_t unit = 0;
    auto value = static_cast<double>(bytes);
    while (value >= 1024 && unit + 1 < units.size()) value /= 1024, ++unit;
    std::array<char, 32> buffer{};
    const bool whole =
        value >= 100 || value == static_cast<double>(static_cast<unsigned long long>(value));
    std::snprintf(buffer.data(), buffer.size(), whole ? "%.0f %s" : "%.1f %s", value,
                  units.at(unit));
    return buffer.data();
}

std::string format_rate(unsigned long long bits_per_second) {
    constexpr std::array<const char*, 4> units{"bit/s", "kbit/s", "Mbit/s", "Gbit/s"};
    std::size_t unit = 0;
    auto value = static_cast<double>(bits_per_second);
    while (value >= 1000 && unit + 1 < units.size()) value /= 1000, ++unit;
    std::array<char, 32> buffer{};
    std::snprintf(buffer.data(), buffer.size(), "%.4g %s", value, units.at(unit));
    return buffer.data();
}

}  // namespace noxsup
