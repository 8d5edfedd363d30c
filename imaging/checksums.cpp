#include "imaging/checksums.hpp"

#include <algorithm>
#include <optional>

#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

constexpr std::size_t sha512_digits = 128;

std::optional<std::string> lower_hex(std::string_view text, std::size_t digits) {
    if (text.size() != digits) return std::nullopt;
    std::string result(text);
    std::ranges::transform(result, result.begin(), [](char c) {
        return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    if (result.find_first_not_of("0123456789abcdef") != std::string::npos) return std::nullopt;
    return result;
}

}  // namespace

Result<std::string> find_sha512(std::string_view text, std::string_view file_name) {
    std::optional<std::string> found;
    for (const auto& line : split(text, '\n')) {
        const auto content = trim(line);
        if (content.size() < sha512_digits + 2) continue;
        // "DIGEST  NAME", or "DIGEST *NAME" for binary mode.
        const auto separator = content.substr(sha512_digits, 2);
        if (separator != "  " && separator != " *") continue;
        if (content.substr(sha512_digits + 2) != file_name) continue;
        auto digest = lower_hex(content.substr(0, sha512_digits), sha512_digits);
        if (!digest) continue;
        if (found && *found != *digest) {
            return Error{ErrorCode::download_failed,
                         "SHA512SUMS names " + std::string(file_name) + " twice"};
        }
        found = std::move(digest);
    }
    if (!found) {
        return Error{
            ErrorCode::download_failed, "SHA512SUMS has no digest of " + std::string(file_name),
            "look at the mirror: it should have the layout of cloud.debian.org/images/cloud"};
    }
    return std::move(*found);
}

Result<ExpectedDigest> parse_expected_digest(std::string_view text) {
    const auto colon = text.find(':');
    const auto algorithm = text.substr(0, colon);
    const std::size_t digits = algorithm == "sha256"   ? 64
                               : algorithm == "sha512" ? sha512_digits
                                                       : 0;
    std::optional<std::string> hex;
    if (colon != std::string_view::npos && digits != 0)
        hex = lower_hex(text.substr(colon + 1), digits);
    if (!hex) {
        return Error{ErrorCode::invalid_argument,
                     "'" + escape_for_terminal(text) + "' is no digest",
                     "write sha256:HEX or sha512:HEX"};
    }
    return ExpectedDigest{std::string(algorithm), std::move(*hex)};
}

}  // namespace noxsup::imaging
