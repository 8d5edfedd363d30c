// The conversations of tests/golden/qmp as values (format: scripts/record-qmp).
#pragma once

#include <string>
#include <vector>

#include "supervisor/base/json.hpp"

namespace noxsup::test {

/// One recorded conversation.
struct QmpRecording {
    struct Command {
        Json text;
        bool with_fd = false;
    };
    std::string name;                ///< of the file, without its suffix
    std::vector<Command> commands;   ///< in order, without qmp_capabilities
    std::vector<std::string> lines;  ///< what QEMU sent, without line ends
    bool closed = false;             ///< QEMU closed the connection in the end

    /// The bytes QEMU sent.
    [[nodiscard]] std::string stream() const;
};

/// All of them, by name. Throws for a file it cannot read.
std::vector<QmpRecording> qmp_recordings();

}  // namespace noxsup::test
