// What GRUB boots by itself: the first entry of a grub.cfg of the kind that grub-mkconfig writes.
#pragma once

#include <string>
#include <string_view>

#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// What a boot loader would load.
struct BootEntry {
    std::string kernel;        ///< as a path below the file system that the menu lies on
    std::string initrd;        ///< the same; may be empty
    std::string command_line;  ///< printable ASCII, words with single spaces between
    bool operator==(const BootEntry&) const = default;
};

/// The entry that boots without anybody's hand. Only what is certain is taken: a menu whose default
/// is its first entry, with one `linux` and at most one `initrd` that no condition stands before
/// and no variable is in.
/// @param environment the text of the grubenv beside it, or empty
/// Errors: invalid_argument with what is not certain.
Result<BootEntry> default_boot_entry(std::string_view menu, std::string_view environment);

}  // namespace noxsup::imaging
