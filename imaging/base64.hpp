// Base64 (RFC 4648 section 4) for MIME parts.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace noxsup::imaging {

/// With padding, in lines of 76 characters that each end in a newline (RFC 2045 6.8).
std::string base64_lines(std::string_view data);

/// The inverse; blanks and line ends are skipped. Nothing for any other character outside the
/// alphabet, for missing or misplaced padding.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace noxsup::imaging
