// Writes small read-only disks: ISO 9660 (ECMA-119) with Rock Ridge and Joliet names, bit by bit
// reproducible.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::imaging::iso9660 {

/// One file or directory of the image. Directories above it come of themselves (mode 0555).
struct Entry {
    std::string path;           ///< relative, '/' between the parts, UTF-8
    std::string_view data;      ///< borrowed until the image is written; empty for a directory
    bool directory = false;     ///< true for a directory, which may stay empty
    std::uint32_t mode = 0444;  ///< permission bits as Rock Ridge records them, at most 07777
};

/// What the image holds besides its files.
struct Options {
    std::string volume_id = "cidata";  ///< 1 to 16 printable ASCII characters, case kept
    /// Every date in the image; nothing is read from a clock. UTC, years 1970 to 2155.
    std::chrono::sys_seconds timestamp{};
};

/// The image in memory. The same entries in any order give the same bytes.
///
/// Names hold up to 64 characters of the Basic Multilingual Plane, none of `* / : ; ? \` or the
/// control characters, and no dot at their end (Joliet); directories nest up to 8 levels, the root
/// counted (ECMA-119 6.8.2.1). Errors, each naming the path: invalid_argument for a name or path
/// outside these rules, the same path twice, a file that is also a directory, a file of 4 GiB or
/// more, or more than 65,535 directories.
Result<std::string> make_image(const std::vector<Entry>& entries, const Options& options);

/// The same, written to a descriptor from its current position on, without a copy of the files'
/// data. `what` names the target in errors. Errors: those of make_image before the first byte is
/// written, then io_error and no_space.
Result<> write_image(int fd, const std::vector<Entry>& entries, const Options& options,
                     std::string_view what);

}  // namespace noxsup::imaging::iso9660
