#include "supervisor/cli/yaml.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <string_view>

namespace noxsup::cli {
namespace {

/// Words that some YAML reader takes for a boolean or null, in lower case.
constexpr std::array<std::string_view, 10> reserved = {"y",   "n",    "yes",   "no",   "on",
                                                       "off", "true", "false", "null", "nan"};

bool is_letter(char c) {
    return std::isalpha(static_cast<unsigned char>(c)) != 0;
}

/// Letters first, then letters, digits, - and _: no number, no indicator, no date.
bool stands_plain(const std::string& text) {
    if (text.empty() || !is_letter(text.front())) return false;
    const bool harmless = std::ranges::all_of(text, [](char c) {
        return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '_';
    });
    std::string lower = text;
    std::ranges::transform(lower, lower.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return harmless && std::ranges::find(reserved, lower) == reserved.end();
}

std::string quoted(const std::string& text) {
    // ASCII only: YAML readers refuse or fold some characters that JSON lets stand. A pair of
    // surrogates, which YAML does not join, becomes one \U escape.
    const auto json = Json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    std::string out;
    for (std::size_t i = 0; i < json.size(); ++i) {
        const auto escape = json.substr(i, 6);
        if (json[i] == '\\' && i + 1 < json.size() && json[i + 1] != 'u') {
            out += json.substr(i++, 2);
        } else if (escape.starts_with("\\ud") && json.compare(i + 6, 2, "\\u") == 0) {
            const auto high = std::stoul(escape.substr(2), nullptr, 16);
            const auto low = std::stoul(json.substr(i + 8, 4), nullptr, 16);
            std::array<char, 16> wide{};
            std::snprintf(wide.data(), wide.size(), "\\U%08lX",
                          0x10000UL + ((high - 0xD800UL) << 10U) + (low - 0xDC00UL));
            out += wide.data();
            i += 11;
        } else {
            out += json[i];
            // A DEL is printable to JSON, and an error to YAML.
            if (json[i] == '\x7f') out.replace(out.size() - 1, 1, "\\u007f");
        }
    }
    return out;
}

std::string text_of(const std::string& text) {
    return stands_plain(text) ? text : quoted(text);
}

bool is_nested(const Json& value) {
    return (value.is_object() || value.is_array()) && !value.empty();
}

std::string scalar(const Json& value) {
    if (value.is_string()) return text_of(value.get_ref<const std::string&>());
    return dump_json(value);  // numbers, booleans, null, {} and [] are YAML as they are
}

void append(const Json& value, std::size_t indent, std::string& out);

/// A value behind "key:" or "-".
void append_value(const Json& value, std::size_t indent, bool in_list, std::string& out) {
    if (!is_nested(value)) {
        out += " " + scalar(value) + "\n";
        return;
    }
    if (in_list) {
        // The first line of a nested value follows its dash.
        std::string nested;
        append(value, indent + 2, nested);
        out += " " + nested.substr(indent + 2);
        return;
    }
    out += "\n";
    append(value, indent + 2, out);
}

void append(const Json& value, std::size_t indent, std::string& out) {
    const std::string pad(indent, ' ');
    if (value.is_object()) {
        for (const auto& [key, member] : value.items()) {
            out += pad + text_of(key) + ":";
            append_value(member, indent, false, out);
        }
    } else {
        for (const auto& member : value) {
            out += pad + "-";
            append_value(member, indent, true, out);
        }
    }
}

}  // namespace

std::string format_yaml(const Json& document) {
    if (!is_nested(document)) return scalar(document) + "\n";
    std::string out;
    append(document, 0, out);
    return out;
}

}  // namespace noxsup::cli
