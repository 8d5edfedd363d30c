#include "imaging/vendor_index.hpp"

#include <algorithm>
#include <compare>
#include <unordered_set>

namespace noxsup::imaging {
namespace {

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// Takes the digits from the start of `text`, without leading zeros.
std::string_view take_number(std::string_view& text) {
    const auto* const end = std::ranges::find_if_not(text, is_digit);
    auto number = text.substr(0, static_cast<std::size_t>(end - text.begin()));
    text.remove_prefix(number.size());
    while (number.size() > 1 && number.front() == '0') number.remove_prefix(1);
    return number;
}

int sign_of(std::strong_ordering order) {
    return order < 0 ? -1 : order > 0 ? 1 : 0;
}

/// Where "href" stands as a word of its own, from `from` on, whatever its case.
std::size_t find_href(std::string_view html, std::size_t from) {
    constexpr std::string_view word = "href";
    while (from + word.size() <= html.size()) {
        const auto rest = html.substr(from);
        // Not of std::ranges: clang 14, which builds the fuzzers, cannot compile its result.
        const auto* const found =
            std::search(rest.begin(), rest.end(), word.begin(), word.end(),
                        [](char one, char letter) { return lower(one) == letter; });
        if (found == rest.end()) return std::string_view::npos;
        const auto at = from + static_cast<std::size_t>(found - rest.begin());
        const char before = at == 0 ? '<' : html[at - 1];
        if (before == ' ' || before == '\t' || before == '\n' || before == '\r') return at;
        from = at + word.size();
    }
    return std::string_view::npos;
}

/// The value of the attribute whose name ends before `at`; moves `at` behind it.
std::string_view attribute_value(std::string_view html, std::size_t& at) {
    constexpr std::string_view blanks = " \t\r\n";
    at = std::min(html.find_first_not_of(blanks, at), html.size());
    if (at == html.size() || html[at] != '=') return {};
    at = std::min(html.find_first_not_of(blanks, at + 1), html.size());
    if (at == html.size()) return {};
    const char quote = html[at];
    const bool quoted = quote == '"' || quote == '\'';
    if (quoted) ++at;
    const auto end = quoted ? html.find(quote, at) : html.find_first_of(" \t\r\n>", at);
    // Cut off in the middle of a name: what is there is not the name.
    if (end == std::string_view::npos) {
        at = html.size();
        return {};
    }
    const auto value = html.substr(at, end - at);
    at = end;
    return value;
}

}  // namespace

bool is_plain_file_name(std::string_view name) {
    if (name.empty() || name.size() > max_vendor_name || name.front() == '.' || name.front() == '-')
        return false;
    return std::ranges::all_of(name, [](char c) {
        const char small = lower(c);
        return (small >= 'a' && small <= 'z') || is_digit(c) || c == '.' || c == '_' || c == '+' ||
               c == '~' || c == '-';
    });
}

bool matches_pattern(std::string_view pattern, std::string_view name) {
    std::size_t p = 0;
    std::size_t n = 0;
    // Where to go on when a character does not fit: the last star takes one more.
    std::optional<std::size_t> star;
    std::size_t resume = 0;
    while (n < name.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            resume = n;
        } else if (p < pattern.size() && pattern[p] == name[n]) {
            ++p;
            ++n;
        } else if (star) {
            p = *star + 1;
            n = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*') ++p;
    return p == pattern.size();
}

int compare_versions(std::string_view a, std::string_view b) {
    while (!a.empty() && !b.empty()) {
        if (is_digit(a.front()) && is_digit(b.front())) {
            const auto number_a = take_number(a);
            const auto number_b = take_number(b);
            if (number_a.size() != number_b.size())
                return sign_of(number_a.size() <=> number_b.size());
            if (const auto order = number_a <=> number_b; order != 0) return sign_of(order);
            continue;
        }
        if (a.front() != b.front()) return sign_of(a.front() <=> b.front());
        a.remove_prefix(1);
        b.remove_prefix(1);
    }
    return sign_of(a.size() <=> b.size());
}

std::vector<std::string> names_in_listing(std::string_view html) {
    std::vector<std::string> names;
    std::unordered_set<std::string> seen;
    for (auto at = find_href(html, 0); at != std::string_view::npos; at = find_href(html, at)) {
        at += 4;
        auto value = attribute_value(html, at);
        if (value.starts_with("./")) value.remove_prefix(2);
        if (!is_plain_file_name(value)) continue;
        std::string name(value);
        if (seen.insert(name).second) names.push_back(std::move(name));
    }
    return names;
}

std::optional<std::string> newest_match(const std::vector<std::string>& names,
                                        std::string_view pattern) {
    const std::string* newest = nullptr;
    for (const auto& name : names) {
        if (!is_plain_file_name(name) || !matches_pattern(pattern, name)) continue;
        if (newest == nullptr || compare_versions(name, *newest) > 0) newest = &name;
    }
    if (newest == nullptr) return std::nullopt;
    return *newest;
}

std::string replace_all(std::string text, std::string_view word, std::string_view by) {
    for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + by.size()))
        text.replace(at, word.size(), by);
    return text;
}

}  // namespace noxsup::imaging
