// The paths of `cp`: local ones, and `NAME:path` in a VM.
#pragma once

#include <string>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::cli {

/// One source or the target.
struct CopyPath {
    std::string vm;    ///< empty: a local path
    std::string path;  ///< in a VM: relative to the user's home; empty is that home
    bool operator==(const CopyPath&) const = default;
};

/// `NAME:path` where NAME could be a VM; a path with a slash before the colon is local.
CopyPath parse_copy_path(const std::string& word);

/// All of them. Errors: invalid_argument when no path is in a VM.
Result<std::vector<CopyPath>> parse_copy_paths(const std::vector<std::string>& words);

/// The word for scp; a local path can be taken neither for an option nor for a host.
std::string scp_word(const CopyPath& path);

}  // namespace noxsup::cli
