// What a user's cloud-config may say: YAML and JSON of the user's read only as far as our own part
// depends on it.
#pragma once

#include <string_view>
#include <vector>

#include "imaging/nocloud_mime.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// What matters to us in a cloud-config.
struct CloudConfigFacts {
    bool sets_apt = false;
};

/// Errors: invalid_cloud_init when the text is no single YAML mapping, sets a key that is ours
/// (ssh_keys, ssh_deletekeys, merge_how, merge_type; directly or through `<<`), or `users` is no
/// list.
Result<CloudConfigFacts> check_cloud_config(std::string_view text);

/// A `#cloud-config-archive`: a YAML list of texts and of mappings with content, type, filename and
/// headers. Errors: invalid_cloud_init when it is something else.
Result<std::vector<MimePart>> explode_archive(std::string_view text);

/// A `#cloud-config-jsonp` (RFC 6902). Errors: invalid_cloud_init when it is no patch or touches a
/// key that is ours, the whole document, or makes `users` something else than a list.
Result<> check_json_patch(std::string_view text);

/// A jinja template can only be read as text: errors: invalid_cloud_init when a key that is ours is
/// spelled out in it.
Result<> check_template(std::string_view text);

}  // namespace noxsup::imaging
