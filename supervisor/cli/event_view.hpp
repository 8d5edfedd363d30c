// Events as the supervisor tells them, as lines for people and for programs.
#pragma once

#include <string>

#include "supervisor/base/json.hpp"
#include "supervisor/cli/options.hpp"

namespace noxsup::cli {

/// One event for people: when, which VM, what, and why. One line without its newline, escaped.
/// Never fails: it shows what another build may have sent.
std::string event_text(const Json& event);

/// Renders a stream of events piece by piece in the form that the options want.
class EventRenderer {
  public:
    explicit EventRenderer(const GlobalOptions& options) : options_(options) {}
    /// With JSON one line of ASCII. Headings of a table come before the first.
    std::string render(const Json& event);

  private:
    [[nodiscard]] std::string csv(const Json& event);

    const GlobalOptions& options_;
    bool headed_ = false;
};

}  // namespace noxsup::cli
