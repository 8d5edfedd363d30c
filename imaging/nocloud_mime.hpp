// MIME messages as cloud-init uses them: user-data with several parts, read into leaves and written
// again.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// One leaf of a message: a document of one type.
struct MimePart {
    std::string content_type;  ///< "text/cloud-config", lower case, without parameters
    std::string filename;      ///< or empty
    std::string launch_index;  ///< cloud-init's header of that name, or empty
    std::string merge_type;    ///< cloud-init's Merge-Type or X-Merge-Type, or empty
    std::string content;       ///< decoded
};

/// True when cloud-init would read the text as a MIME message: "mime-version:" in its first 4,096
/// bytes.
bool looks_like_mime(std::string_view text);

/// The leaves in order, transfer encodings (7bit, 8bit, binary, base64, quoted-printable) undone.
/// Errors: invalid_cloud_init for a message this reader does not understand exactly: a multipart
/// without its boundary, an unknown transfer encoding, damaged base64, nesting beyond 8 levels.
Result<std::vector<MimePart>> parse_mime(std::string_view text);

/// A multipart/mixed message, every part in base64 so that nothing in it can end it. The same parts
/// give the same bytes.
std::string make_multipart(const std::vector<MimePart>& parts);

}  // namespace noxsup::imaging
