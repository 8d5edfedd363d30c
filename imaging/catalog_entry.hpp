// One release of an operating system and how its vendor publishes it: the built-in ones, and the
// file that users write.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// In names `{arch}` stands for the vendor's word of the architecture and `*` for any characters:
/// of all that match the newest by version is meant.
struct CatalogEntry {
    std::string os;                             ///< "debian"
    std::string release;                        ///< "13"
    std::string codename;                       ///< "trixie", or empty
    std::string label;                          ///< "Debian": what people call the OS
    std::map<std::string, std::string> arches;  ///< ours to the vendor's: "arm64" to "aarch64"
    std::string base_url;                       ///< what a mirror replaces; no slash at its end
    std::string path;         ///< of the directory below it; empty or with a slash at its end
    std::string image;        ///< the file
    std::string checksums;    ///< the list of digests in the same directory; "{image}.sha256" is a
                              ///< file of one digest beside the image
    std::string digest_name;  ///< for such a file: the name it may give to its digest; empty: the
                              ///< image's
    std::string signature;    ///< of the list: empty, "inline" (clear-signed) or a file, where
                              ///< "{checksums}" stands for the list's name
    std::vector<std::string> keyrings;  ///< the first that is installed must hold the vendor's key
    std::string shell = "/bin/bash";    ///< of the user that our seed makes
    bool doas = false;                  ///< the system has doas in place of sudo
    bool is_default = false;            ///< in a user's file: the OS without a release means this
    bool own = false;                   ///< from the user's file
};

/// What noxsup knows by itself. The first row of an OS is the one meant without a release.
std::vector<CatalogEntry> builtin_catalog();

/// Reads a catalog file: {"version": 1, "images": [{os, release, url, image, checksums, arches,
/// ...}]}. Strict: every member must be known, of the right type and harmless.
/// @param source what errors call it  @param allow_http plain http beyond loopback is taken
/// Errors: invalid_argument that names the member ("images[2].image").
Result<std::vector<CatalogEntry>> read_catalog(std::string_view text, std::string_view source,
                                               bool allow_http);

}  // namespace noxsup::imaging
