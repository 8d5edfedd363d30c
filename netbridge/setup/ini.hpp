// Files of sections and KEY=VALUE lines (systemd's units, NetworkManager's keyfiles), taken apart
// and kept as they are.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::netbridge::setup {

/// One line of a section, as it stands; with a backslash at its end the next one belongs to it.
struct IniLine {
    std::string text;
    std::string key;    ///< empty for comments and empty lines
    std::string value;  ///< trimmed
};

/// "[name]" and what follows. Sections of one name may stand several times and mean different
/// things each.
struct IniSection {
    std::string name;
    std::vector<IniLine> lines;

    /// The last value of the key, or nothing.
    [[nodiscard]] std::optional<std::string> value(std::string_view key) const;
    /// The lines that say something, each with its newline.
    [[nodiscard]] std::string text() const;
};

/// Comments begin with # or ;. Errors: wrong_state for a line that is neither a section, a comment
/// nor KEY=VALUE, or a setting before the first section; `what` names the file.
Result<std::vector<IniSection>> parse_ini(std::string_view text, std::string_view what);

}  // namespace noxsup::netbridge::setup
