// The user's cloud-init documents, read, checked, and taken apart into parts of known types.
#pragma once

#include <cstddef>
#include <vector>

#include "imaging/nocloud.hpp"
#include "imaging/nocloud_mime.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// The most one document has as given, and all of them together once decompressed.
inline constexpr std::size_t max_document_bytes = std::size_t{1} << 20;
inline constexpr std::size_t max_documents_bytes = std::size_t{4} << 20;

/// What the documents hold.
struct UserParts {
    std::vector<MimePart> parts;  ///< no multipart, archive or compressed part is left among them
    bool sets_apt = false;        ///< a cloud-config among them has `apt` of its own
};

/// Takes cloud-config, cloud-config-archive, cloud-config-jsonp, shell scripts (`#!` and the
/// per-boot, per-instance, per-once types), include, include-once, cloud-boothook, part-handler,
/// jinja templates, MIME multiparts and any of them compressed by gzip.
///
/// Refused, because the VM could not be reached as promised: a cloud-config that is no mapping or
/// that sets ssh_keys, ssh_deletekeys, merge_how or merge_type (in whatever wrapping, through a
/// merge key `<<` or a JSON patch too), a Merge-Type header, `users` that is no list, text of no
/// known type. What an include fetches in the guest is not seen here. Errors: invalid_cloud_init
/// naming the document and what is wrong with it.
Result<UserParts> read_documents(const std::vector<UserDocument>& documents);

}  // namespace noxsup::imaging
