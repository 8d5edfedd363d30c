// The images that disks stand on whose VM has no record we can read.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "supervisor/base/result.hpp"

namespace noxsup::daemon {

/// What the headers of those disks say.
struct OverlayBases {
    std::set<std::pair<std::string, std::string>> users;  ///< digest of an image and a VM's name
    /// Why one of them is not known: any image may be its base.
    std::optional<Error> unknown;
};

/// Looks into every directory of `vms` but those in `known`; not where a VM is being made or
/// removed. disk.qcow2 must be readable; of other files only those that are qcow2 count (a VM of
/// nox has NAME.qcow2). Reads headers alone, synchronously.
OverlayBases find_overlay_bases(const std::filesystem::path& vms,
                                const std::set<std::string>& known);

}  // namespace noxsup::daemon
