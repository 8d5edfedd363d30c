#include "imaging/base64.hpp"

#include <cstddef>
#include <cstdint>

namespace noxsup::imaging {
namespace {

constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::size_t line_length = 76;

}  // namespace

std::string base64_lines(std::string_view data) {
    std::string result;
    result.reserve(data.size() * 4 / 3 + data.size() / line_length + 8);
    std::size_t column = 0;
    for (std::size_t i = 0; i < data.size(); i += 3) {
        const auto group = data.substr(i, 3);
        std::uint32_t bits = 0;
        for (std::size_t k = 0; k < 3; ++k) {
            bits = bits << 8U | (k < group.size() ? static_cast<unsigned char>(group[k]) : 0U);
        }
        for (std::size_t k = 0; k < 4; ++k) {
            result += k <= group.size() ? alphabet[bits >> (18 - 6 * k) & 0x3fU] : '=';
        }
        column += 4;
        if (column == line_length) {
            result += '\n';
            column = 0;
        }
    }
    if (column != 0) result += '\n';
    return result;
}

std::optional<std::string> base64_decode(std::string_view text) {
    std::string result;
    std::uint32_t bits = 0;
    std::size_t digits = 0;
    std::size_t padding = 0;
    for (const char c : text) {
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n') continue;
        if (c == '=') {
            ++padding;
            continue;
        }
        const auto value = alphabet.find(c);
        if (value == std::string_view::npos || padding != 0) return std::nullopt;
        bits = bits << 6U | static_cast<std::uint32_t>(value);
        if (++digits % 4 == 0) {
            for (const auto shift : {16U, 8U, 0U})
                result += static_cast<char>(bits >> shift & 0xffU);
            bits = 0;
        }
    }
    const auto rest = digits % 4;
    if (rest == 1 || padding != (rest == 0 ? 0 : 4 - rest)) return std::nullopt;
    if (rest == 2) result += static_cast<char>(bits >> 4U & 0xffU);
    if (rest == 3) {
        result += static_cast<char>(bits >> 10U & 0xffU);
        result += static_cast<char>(bits >> 2U & 0xffU);
    }
    return result;
}

}  // namespace noxsup::imaging
