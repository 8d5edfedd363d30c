// Base64 (RFC 4648, 4), as the guest agent carries the input and output of programs.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace noxsup::qmp {

/// With padding.
std::string encode_base64(std::string_view bytes);

/// Nothing for what is not canonical base64 with padding.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace noxsup::qmp
