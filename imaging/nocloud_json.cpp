#include "imaging/nocloud_json.hpp"

#include <algorithm>
#include <array>

#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

struct Escape {
    std::string_view utf8;
    std::string_view escaped;
};

// U+0080 to U+00A0 are handled by their lead byte.
constexpr std::array<Escape, 5> three_byte_escapes{{{"\xe2\x80\xa8", "\\u2028"},
                                                    {"\xe2\x80\xa9", "\\u2029"},
                                                    {"\xef\xbb\xbf", "\\ufeff"},
                                                    {"\xef\xbf\xbe", "\\ufffe"},
                                                    {"\xef\xbf\xbf", "\\uffff"}}};

std::string escape_code(unsigned value) {
    constexpr std::string_view digits = "0123456789abcdef";
    return {'\\', 'u', '0', '0', digits[value >> 4U], digits[value & 0xfU]};
}

}  // namespace

std::string yaml_safe_json(const Json& value) {
    // Outside of strings JSON is ASCII, so whatever is replaced stands within one.
    const auto text = value.dump(2, ' ', false, Json::error_handler_t::replace);
    std::string result;
    result.reserve(text.size() + 1);
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0U;
        if (byte == 0x7f) {
            result += escape_code(byte);
            continue;
        }
        if (byte == 0xc2 && next <= 0xa0) {
            result += escape_code(next);
            ++i;
            continue;
        }
        const auto* const found =
            byte == 0xe2 || byte == 0xef
                ? std::ranges::find(three_byte_escapes, std::string_view(text).substr(i, 3),
                                    &Escape::utf8)
                : three_byte_escapes.end();
        if (found != three_byte_escapes.end()) {
            result += found->escaped;
            i += 2;
            continue;
        }
        result += text[i];
    }
    result += '\n';
    return result;
}

Result<> check_one_line(std::string_view text, std::string_view what) {
    if (!is_valid_utf8(text)) {
        return Error{ErrorCode::invalid_argument, std::string(what) + " is not valid UTF-8"};
    }
    const bool controls = std::ranges::any_of(text, [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte < 0x20 || byte == 0x7f;
    });
    if (controls) {
        return Error{
            ErrorCode::invalid_argument,
            std::string(what) + " '" + escape_for_terminal(text) + "' holds a control character",
            "give it as one line of plain text"};
    }
    return {};
}

}  // namespace noxsup::imaging
