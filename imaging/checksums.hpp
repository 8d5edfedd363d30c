// Reads lists of digests as vendors publish them and single digests as users write them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// The digest that a file must have.
struct ExpectedDigest {
    std::string algorithm;  ///< "sha256" or "sha512"
    std::string hex;        ///< lower case
    [[nodiscard]] std::string text() const { return algorithm + ":" + hex; }
};

/// One line of a list.
struct ListedDigest {
    std::string name;  ///< of the file; empty where the line is a digest alone
    ExpectedDigest digest;
};

/// What sha256sum and sha512sum write ("HEX  NAME", "HEX *NAME"), their BSD style ("SHA256 (NAME) =
/// HEX") and a digest alone. Every other line is left out: comments, weaker algorithms, digests of
/// a wrong length, names that are no plain file names of the directory.
std::vector<ListedDigest> parse_checksums(std::string_view text);

/// The digest of exactly this file; SHA-512 where both are listed. @param list names it in errors
/// Errors: download_failed when it is not listed, or with two digests of one kind.
Result<ExpectedDigest> find_digest(const std::vector<ListedDigest>& digests,
                                   std::string_view file_name, std::string_view list);

/// The digest in a file that is about one image alone: a line without a name, or whose name matches
/// `name_pattern`. Errors: download_failed when there is none, or several that differ.
Result<ExpectedDigest> find_only_digest(const std::vector<ListedDigest>& digests,
                                        std::string_view name_pattern, std::string_view list);

/// A digest as a user writes it: "sha256:HEX" or "sha512:HEX". Errors: invalid_argument.
Result<ExpectedDigest> parse_expected_digest(std::string_view text);

}  // namespace noxsup::imaging
