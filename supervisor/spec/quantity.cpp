#include "supervisor/spec/quantity.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

#include "supervisor/base/text.hpp"

namespace noxsup::spec {
namespace {

constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20;
constexpr std::uint64_t gibibyte = std::uint64_t{1} << 30;

Error refusal(ErrorCode code, std::string_view flag, std::string_view text,
              const std::string& problem, std::string hint) {
    return {code, std::string(flag) + " \"" + escape_for_terminal(text) + "\": " + problem,
            std::move(hint)};
}

/// A decimal number: digits with at most one dot inside; no sign, no exponent, no spaces.
struct Number {
    double value = 0;
    std::uint64_t whole = 0;  ///< meaningful without a dot
    bool has_dot = false;
};

std::optional<Number> parse_number(std::string_view text) {
    Number number;
    const auto dot = text.find('.');
    number.has_dot = dot != std::string_view::npos;
    const bool digits_only =
        std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
    if (!digits_only || text.empty() || text.front() == '.' || text.back() == '.')
        return std::nullopt;
    const auto* end = text.data() + text.size();
    if (number.has_dot) {
        if (text.find('.', dot + 1) != std::string_view::npos) return std::nullopt;
    } else {
        const auto [rest, failure] = std::from_chars(text.data(), end, number.whole);
        if (failure != std::errc() || rest != end) return std::nullopt;
    }
    const auto [rest, failure] =
        std::from_chars(text.data(), end, number.value, std::chars_format::fixed);
    if (failure != std::errc() || rest != end) return std::nullopt;
    return number;
}

/// The factor of a suffix such as "G", "GiB" or "GB"; 0 for none that is known.
std::uint64_t suffix_factor(std::string_view suffix) {
    std::string lower(suffix);
    std::ranges::transform(lower, lower.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (lower == "b") return 1;
    if (lower.ends_with("ib") && lower.size() == 3) lower.resize(1);
    if (lower.ends_with("b") && lower.size() == 2) lower.resize(1);
    if (lower == "k") return std::uint64_t{1} << 10;
    if (lower == "m") return mebibyte;
    if (lower == "g") return gibibyte;
    if (lower == "t") return std::uint64_t{1} << 40;
    return 0;
}

/// Percentages and dotted numbers without a unit: shares, or the reason why not.
Result<std::optional<double>> parse_share(std::string_view text, std::string_view flag,
                                          ErrorCode code, const std::string& absolute_example) {
    const bool percent = text.ends_with('%');
    const auto number = parse_number(percent ? text.substr(0, text.size() - 1) : text);
    if (!number || (!percent && !number->has_dot)) {
        if (percent)
            return refusal(code, flag, text, "is not a percentage", "write for example 50%");
        return std::optional<double>();
    }
    const double share = percent ? number->value / 100 : number->value;
    if (!percent && share == 1.0) {
        return refusal(code, flag, text, "could mean one or the whole host",
                       "write " + absolute_example + " for one, or 100% for all of the host");
    }
    if (share <= 0 || share > 1) {
        return refusal(
            code, flag, text, "is not a share of the host between 0 and 1",
            "write a share such as 0.5 or 50%, or an absolute amount such as " + absolute_example);
    }
    return std::optional<double>(share);
}

}  // namespace

Result<Amount> parse_size(std::string_view text, SizeUnit unit, std::string_view flag) {
    const std::string example = unit == SizeUnit::mebibytes ? "512M" : "10G";
    const std::string one = unit == SizeUnit::mebibytes ? "1M" : "1G";
    NOXSUP_TRY_VALUE(const auto share, parse_share(text, flag, ErrorCode::invalid_size, one));
    Amount amount;
    if (share) {
        amount.share = share;
        return amount;
    }
    const auto digits = std::min(text.find_first_not_of("0123456789."), text.size());
    const auto number = parse_number(text.substr(0, digits));
    const auto suffix = text.substr(digits);
    const auto bare = unit == SizeUnit::mebibytes ? mebibyte : gibibyte;
    const auto factor = suffix.empty() ? bare : suffix_factor(suffix);
    if (!number || factor == 0) {
        return refusal(ErrorCode::invalid_size, flag, text, "is not a size",
                       "write for example " + example + ", or a share of the host such as 50%");
    }
    const long double bytes = number->has_dot ? static_cast<long double>(number->value) * factor
                                              : static_cast<long double>(number->whole) * factor;
    if (bytes >= 9.2e18L) return refusal(ErrorCode::invalid_size, flag, text, "is too large", {});
    amount.absolute = number->has_dot ? static_cast<std::uint64_t>(bytes) : number->whole * factor;
    if (amount.absolute == 0) {
        return refusal(ErrorCode::invalid_size, flag, text, "is zero",
                       "write for example " + example);
    }
    return amount;
}

Result<Amount> parse_cpus(std::string_view text, std::string_view flag) {
    NOXSUP_TRY_VALUE(const auto share, parse_share(text, flag, ErrorCode::cpus_out_of_range, "1"));
    Amount amount;
    if (share) {
        amount.share = share;
        return amount;
    }
    const auto number = parse_number(text);
    if (!number || number->whole == 0) {
        return refusal(ErrorCode::cpus_out_of_range, flag, text, "is not a number of CPUs",
                       "write for example 2, or a share of the host such as 50%");
    }
    amount.absolute = number->whole;
    return amount;
}

std::uint64_t resolve_size(const Amount& amount, std::uint64_t host_bytes) {
    if (!amount.share) return amount.absolute;
    const auto bytes = static_cast<std::uint64_t>(static_cast<double>(host_bytes) * *amount.share);
    return std::max(bytes / mebibyte * mebibyte, mebibyte);
}

unsigned resolve_cpus(const Amount& amount, unsigned host_cpus) {
    if (!amount.share) {
        return static_cast<unsigned>(std::min<std::uint64_t>(amount.absolute, UINT32_MAX));
    }
    return std::max(1U, static_cast<unsigned>(std::lround(host_cpus * *amount.share)));
}

}  // namespace noxsup::spec
