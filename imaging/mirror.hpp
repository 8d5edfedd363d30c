// Where vendors' images come from in place of the vendors' own servers, and how servers are
// trusted.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// The vendors themselves, or servers with their layouts. URLs are without a slash at their end.
struct Mirror {
    std::string base_url = "https://cloud.debian.org/images/cloud";  ///< Debian's
    std::map<std::string, std::string> vendors;  ///< by OS ("alpine"): of the other built-in ones
    bool allow_http =
        false;            ///< plain http beyond loopback; an explicit choice of the administrator
    std::string ca_file;  ///< PEM file of further certificate authorities, or empty
};

/// Reads NOXSUP_IMAGE_MIRROR (URL), NOXSUP_IMAGE_CA_FILE (path) and NOXSUP_IMAGE_ALLOW_HTTP ("1")
/// over `configured`. Errors: invalid_argument for a URL that is not https (plain http: loopback or
/// allow_http).
Result<Mirror> mirror_from_environment(Mirror configured = {});

/// Only how servers are trusted: the last two. For addresses that are no mirror's.
Mirror trust_from_environment(Mirror configured = {});

/// Checks the URL of a mirror or an image. Errors: invalid_argument.
Result<> check_image_url(std::string_view url, bool allow_http);

}  // namespace noxsup::imaging
