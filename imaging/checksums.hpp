// Reads what sha512sum and sha256sum write: one digest and file name a line.
#pragma once

#include <string>
#include <string_view>

#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// The SHA-512 (128 lower-case hex digits) of exactly this file name.
/// Errors: download_failed when the text is no list of digests or does not name the file once.
Result<std::string> find_sha512(std::string_view text, std::string_view file_name);

/// A digest as a user writes it: "sha256:HEX" or "sha512:HEX".
struct ExpectedDigest {
    std::string algorithm;  ///< "sha256" or "sha512"
    std::string hex;
};
/// Errors: invalid_argument.
Result<ExpectedDigest> parse_expected_digest(std::string_view text);

}  // namespace noxsup::imaging
