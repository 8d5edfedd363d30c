#include "qmp/base64.hpp"

#include <cstdint>

namespace noxsup::qmp {
namespace {

constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Three bytes to four digits, or four digits to three bytes.
constexpr std::size_t bytes_a_group = 3;
constexpr std::size_t digits_a_group = 4;
constexpr unsigned bits_a_digit = 6;
constexpr unsigned bits_a_byte = 8;

}  // namespace

std::string encode_base64(std::string_view bytes) {
    std::string text;
    text.reserve((bytes.size() + 2) / bytes_a_group * digits_a_group);
    for (std::size_t at = 0; at < bytes.size(); at += bytes_a_group) {
        const auto group = bytes.substr(at, bytes_a_group);
        std::uint32_t value = 0;
        for (std::size_t i = 0; i < bytes_a_group; ++i) {
            value = value << bits_a_byte |
                    (i < group.size() ? static_cast<std::uint8_t>(group[i]) : 0U);
        }
        for (std::size_t i = 0; i < digits_a_group; ++i) {
            const auto shift = static_cast<unsigned>(digits_a_group - 1 - i) * bits_a_digit;
            text += i <= group.size() ? alphabet[value >> shift & 63U] : '=';
        }
    }
    return text;
}

std::optional<std::string> decode_base64(std::string_view text) {
    if (text.size() % digits_a_group != 0) return std::nullopt;
    std::string bytes;
    bytes.reserve(text.size() / digits_a_group * bytes_a_group);
    for (std::size_t at = 0; at < text.size(); at += digits_a_group) {
        auto group = text.substr(at, digits_a_group);
        const bool last = at + digits_a_group == text.size();
        std::size_t padding = 0;
        while (last && padding < 2 && group.ends_with('=')) {
            group.remove_suffix(1);
            ++padding;
        }
        std::uint32_t value = 0;
        for (const auto digit : group) {
            const auto index = alphabet.find(digit);
            if (index == std::string_view::npos) return std::nullopt;
            value = value << bits_a_digit | static_cast<std::uint32_t>(index);
        }
        value <<= padding * bits_a_digit;
        // Bits that belong to no byte are zero, or two texts would mean the same bytes.
        if (padding > 0 && (value & ((1U << padding * bits_a_byte) - 1)) != 0) return std::nullopt;
        for (std::size_t i = 0; i < bytes_a_group - padding; ++i) {
            bytes += static_cast<char>(value >> ((2 - i) * bits_a_byte) & 0xffU);
        }
    }
    return bytes;
}

}  // namespace noxsup::qmp
