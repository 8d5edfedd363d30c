// Files and addresses that a command line names, opened and read here: the supervisor gets no path.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"
#include "supervisor/cli/session.hpp"

namespace noxsup::cli {

/// What `--image` may be.
enum class ImageSource { file, url, name };

/// A URL has "://"; a file has a slash or the ending of an image file; all else is a name.
ImageSource classify_image(std::string_view word);

/// A regular file, open to read. Errors: unreadable_file naming it.
Result<UniqueFd> open_image_file(const std::string& path);

/// The public keys in a file, one a line. Errors: unreadable_file; invalid_argument for a private
/// key or no key at all.
Result<std::vector<std::string>> read_public_keys(const std::string& path);

/// The caller's own public keys, ~/.ssh/id_*.pub, in order of their names; unreadable ones are left
/// out.
std::vector<std::string> own_public_keys();

/// A cloud-init document {name, text}: a file, a URL (fetched by the confined worker) or "-" for
/// standard input. Errors: unreadable_file, those of the fetch, invalid_cloud_init beyond 512 KiB.
Result<Json> read_document(Session& session, const std::string& source);

}  // namespace noxsup::cli
