#include "imaging/checksums.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>

#include "imaging/vendor_index.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

struct Algorithm {
    std::string_view name;
    std::string_view bsd_name;
    std::size_t digits;
};
constexpr std::array<Algorithm, 2> algorithms{
    {{"sha256", "SHA256", 64}, {"sha512", "SHA512", 128}}};

std::optional<std::string> lower_hex(std::string_view text, std::size_t digits) {
    if (text.size() != digits) return std::nullopt;
    std::string result(text);
    std::ranges::transform(result, result.begin(), [](char c) {
        return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    if (result.find_first_not_of("0123456789abcdef") != std::string::npos) return std::nullopt;
    return result;
}

/// A digest tells its algorithm by its length.
std::optional<ExpectedDigest> digest_of(std::string_view hex) {
    for (const auto& algorithm : algorithms) {
        if (auto digits = lower_hex(hex, algorithm.digits))
            return ExpectedDigest{std::string(algorithm.name), std::move(*digits)};
    }
    return std::nullopt;
}

/// "HEX  NAME", "HEX *NAME" or "HEX".
std::optional<ListedDigest> parse_coreutils(std::string_view line) {
    const auto space = line.find(' ');
    auto digest = digest_of(line.substr(0, space));
    if (!digest) return std::nullopt;
    if (space == std::string_view::npos) return ListedDigest{{}, std::move(*digest)};
    auto name = line.substr(space + 1);
    // Text mode, or binary mode.
    if (!name.starts_with(' ') && !name.starts_with('*')) return std::nullopt;
    name.remove_prefix(1);
    if (name.starts_with("./")) name.remove_prefix(2);
    if (!is_plain_file_name(name)) return std::nullopt;
    return ListedDigest{std::string(name), std::move(*digest)};
}

/// "SHA256 (NAME) = HEX".
std::optional<ListedDigest> parse_bsd(std::string_view line) {
    constexpr std::string_view open = " (";
    constexpr std::string_view close = ") = ";
    const auto name_end = line.rfind(close);
    if (name_end == std::string_view::npos) return std::nullopt;
    for (const auto& algorithm : algorithms) {
        const auto begin = algorithm.bsd_name.size() + open.size();
        if (!line.starts_with(algorithm.bsd_name) || name_end < begin) continue;
        if (line.substr(algorithm.bsd_name.size(), open.size()) != open) continue;
        const auto name = line.substr(begin, name_end - begin);
        auto hex = lower_hex(line.substr(name_end + close.size()), algorithm.digits);
        if (!hex || !is_plain_file_name(name)) continue;
        return ListedDigest{std::string(name), {std::string(algorithm.name), std::move(*hex)}};
    }
    return std::nullopt;
}

Result<ExpectedDigest> choose(const std::vector<ListedDigest>& digests,
                              const std::function<bool(const ListedDigest&)>& wanted,
                              std::string_view what, std::string_view list) {
    const ExpectedDigest* chosen = nullptr;
    for (const auto& listed : digests) {
        if (!wanted(listed)) continue;
        const auto& digest = listed.digest;
        if (chosen != nullptr && chosen->algorithm == digest.algorithm &&
            chosen->hex != digest.hex) {
            return Error{ErrorCode::download_failed,
                         std::string(list) + " has two digests of " + escape_for_terminal(what)};
        }
        // "sha512" is the greater word.
        if (chosen == nullptr || digest.algorithm > chosen->algorithm) chosen = &digest;
    }
    if (chosen == nullptr) {
        return Error{
            ErrorCode::download_failed,
            std::string(list) + " has no digest of " + escape_for_terminal(what),
            "look at the server: it should have the layout that 'noxsup image available' expects"};
    }
    return *chosen;
}

}  // namespace

std::vector<ListedDigest> parse_checksums(std::string_view text) {
    std::vector<ListedDigest> digests;
    while (!text.empty()) {
        const auto end = text.find('\n');
        const auto line = trim(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        auto listed = parse_bsd(line);
        if (!listed) listed = parse_coreutils(line);
        if (listed) digests.push_back(std::move(*listed));
    }
    return digests;
}

Result<ExpectedDigest> find_digest(const std::vector<ListedDigest>& digests,
                                   std::string_view file_name, std::string_view list) {
    return choose(
        digests, [&](const ListedDigest& listed) { return listed.name == file_name; }, file_name,
        list);
}

Result<ExpectedDigest> find_only_digest(const std::vector<ListedDigest>& digests,
                                        std::string_view name_pattern, std::string_view list) {
    return choose(
        digests,
        [&](const ListedDigest& listed) {
            return listed.name.empty() || matches_pattern(name_pattern, listed.name);
        },
        name_pattern, list);
}

Result<ExpectedDigest> parse_expected_digest(std::string_view text) {
    const auto colon = text.find(':');
    if (colon != std::string_view::npos) {
        auto digest = digest_of(text.substr(colon + 1));
        if (digest && digest->algorithm == text.substr(0, colon)) return std::move(*digest);
    }
    return Error{ErrorCode::invalid_argument, "'" + escape_for_terminal(text) + "' is no digest",
                 "write sha256:HEX or sha512:HEX"};
}

}  // namespace noxsup::imaging
