#include "imaging/iso9660/names.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>

#include "supervisor/base/text.hpp"

namespace noxsup::imaging::iso9660 {
namespace {

constexpr std::size_t max_joliet_characters = 64;
constexpr std::size_t max_stem = 8;
constexpr std::size_t max_extension = 3;

struct CodePoint {
    std::uint32_t value;
    std::size_t bytes;
};

/// @pre `text` is valid UTF-8 and not empty
CodePoint first_code_point(std::string_view text) {
    const auto byte = [&](std::size_t i) {
        return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i]));
    };
    if (byte(0) < 0x80) return {byte(0), 1};
    if (byte(0) < 0xe0) return {(byte(0) & 0x1fU) << 6 | (byte(1) & 0x3fU), 2};
    if (byte(0) < 0xf0) {
        return {(byte(0) & 0x0fU) << 12 | (byte(1) & 0x3fU) << 6 | (byte(2) & 0x3fU), 3};
    }
    return {(byte(0) & 0x07U) << 18 | (byte(1) & 0x3fU) << 12 | (byte(2) & 0x3fU) << 6 |
                (byte(3) & 0x3fU),
            4};
}

std::string code_point_name(std::uint32_t value) {
    char text[16];
    std::snprintf(text, sizeof text, "U+%04X", value);
    return text;
}

std::string shortened(std::string_view text, std::size_t limit) {
    std::string result;
    for (const char c : text.substr(0, limit)) {
        const bool lower = c >= 'a' && c <= 'z';
        const bool kept = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        result += lower ? static_cast<char>(c - 'a' + 'A') : kept ? c : '_';
    }
    return result;
}

/// At least three digits, so that the first thousand of one kind line up.
std::string base36(unsigned value) {
    std::string digits;
    for (; value != 0; value /= 36) digits += "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[value % 36];
    while (digits.size() < 3) digits += '0';
    std::ranges::reverse(digits);
    return digits;
}

}  // namespace

Result<std::string> joliet_name(std::string_view name) {
    constexpr std::string_view forbidden = "*/:;?\\";
    if (!is_valid_utf8(name)) return Error{ErrorCode::invalid_argument, "the name is not UTF-8"};
    if (name.ends_with('.')) {
        return Error{ErrorCode::invalid_argument,
                     "the name ends in a dot, which readers of Joliet names drop",
                     "rename the file"};
    }
    std::string result;
    while (!name.empty()) {
        const auto [value, bytes] = first_code_point(name);
        name.remove_prefix(bytes);
        if (value < 0x20 ||
            (value < 0x80 && forbidden.find(static_cast<char>(value)) != std::string_view::npos)) {
            return Error{ErrorCode::invalid_argument,
                         "the name holds " + code_point_name(value) +
                             ", which an ISO image with Joliet names cannot",
                         "rename the file: control characters and * / : ; ? \\ do not fit"};
        }
        if (value > 0xffff) {
            return Error{ErrorCode::invalid_argument,
                         "the name holds " + code_point_name(value) +
                             ", which does not fit into Joliet's UCS-2",
                         "rename the file: characters up to U+FFFF fit"};
        }
        result += static_cast<char>(value >> 8);
        result += static_cast<char>(value & 0xff);
    }
    if (result.size() > 2 * max_joliet_characters) {
        return Error{ErrorCode::invalid_argument,
                     "the name has " + std::to_string(result.size() / 2) +
                         " characters; an ISO image with Joliet names holds 64",
                     "give the file a shorter name"};
    }
    return result;
}

std::string ShortNames::unique(std::string_view name, bool directory) {
    auto dot = directory ? std::string_view::npos : name.rfind('.');
    if (dot == 0) dot = std::string_view::npos;
    const auto stem = shortened(name.substr(0, dot), max_stem);
    const auto extension =
        dot == std::string_view::npos ? "" : shortened(name.substr(dot + 1), max_extension);
    auto candidate = stem;
    if (!used_.insert(candidate + '.' + extension).second) {
        auto& next = next_[stem + '.' + extension];
        do {
            const auto number = base36(next++);
            candidate = stem.substr(0, max_stem - number.size()) + number;
        } while (!used_.insert(candidate + '.' + extension).second);
    }
    return directory ? candidate : candidate + '.' + extension + ";1";
}

}  // namespace noxsup::imaging::iso9660
