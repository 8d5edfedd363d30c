// A supervisor whose program file was replaced goes on as the new one, in place.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::daemon {

/// Remembers what this process was started from, and becomes what stands there now.
class SelfUpdate {
  public:
    /// Reads /proc/self. @pre called before the program could have been replaced
    SelfUpdate();

    /// True when another file stands at the path this process was started from. A missing one (an
    /// update that has removed but not yet written it) does not count.
    [[nodiscard]] bool is_replaced() const;

    /// execve(2) of the new program with the old arguments but `--ready-fd N`: who waited for it is
    /// gone. Returns only on failure. Children stay children, so QEMU is adopted and still reaped.
    [[nodiscard]] Error execute() const;

  private:
    struct File {
        unsigned long device = 0;
        unsigned long inode = 0;
        bool operator==(const File&) const = default;
    };

    std::string program_;
    std::vector<std::string> arguments_;
    File file_;
};

}  // namespace noxsup::daemon
