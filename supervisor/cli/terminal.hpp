// What the command line knows of its terminal: is there one, questions, raw mode.
#pragma once

#include <termios.h>

#include <optional>
#include <string>
#include <string_view>

#include "supervisor/base/result.hpp"

namespace noxsup::cli {

/// True when a person reads and answers: standard input and error are terminals.
bool is_interactive();

/// True when `fd` is a terminal that understands colours and the cursor (TERM is not dumb).
bool is_capable_terminal(int fd);

/// True when output to `fd` may have colours: a capable terminal, and NO_COLOR is not set.
bool wants_color(int fd, bool no_color);

/// Writes everything; a reader that has gone is no error (`noxsup list | head -1`), but the result
/// is false then.
bool write_text(int fd, std::string_view text);

/// Asks on standard error and reads a line from standard input. An empty line is the default, the
/// end of input is no. @pre is_interactive()
bool ask_yes_no(std::string_view question, bool by_default);

/// Raw mode of the terminal on `fd` as long as the object lives; signals that end the process put
/// it back too. Does nothing when `fd` is no terminal.
class RawMode {
  public:
    explicit RawMode(int fd);
    RawMode(const RawMode&) = delete;
    RawMode& operator=(const RawMode&) = delete;
    ~RawMode();
    [[nodiscard]] bool active() const { return active_; }

  private:
    int fd_;
    bool active_ = false;
};

}  // namespace noxsup::cli
