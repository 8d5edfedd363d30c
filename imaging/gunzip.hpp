// Decompression of small gzip texts, with a limit on what may come out.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// True for the magic bytes of gzip (RFC 1952 2.3.1).
bool is_gzip(std::string_view data);

/// The content of all members. Errors: invalid_cloud_init when the data is damaged or cut, or when
/// more than `limit` bytes would come out.
Result<std::string> gunzip(std::string_view data, std::size_t limit);

}  // namespace noxsup::imaging
