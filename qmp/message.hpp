// Lines to messages: the four kinds of thing a QMP server says, recognised by their key in every
// state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::qmp {

/// What we number commands with; 0 is never used.
using CommandId = std::uint64_t;

/// QEMU's version, as in the greeting and query-version (qapi/control.json, VersionInfo).
struct Version {
    int major = 0;
    int minor = 0;
    int micro = 0;
    std::string package;  ///< "Debian 1:7.2+dfsg-7+deb12u18", or empty

    /// "7.2.22".
    [[nodiscard]] std::string text() const;
    auto operator<=>(const Version&) const = default;
};

/// The server's first message (docs/interop/qmp-spec.txt, 2.2 "Server Greeting").
struct Greeting {
    Version version;
    std::vector<std::string> capabilities;  ///< "oob" and later ones
};

/// An asynchronous event (qmp-spec 2.5). Its text is QEMU's own: escape it before showing it.
struct Event {
    std::string name;  ///< "SHUTDOWN"
    Json data;         ///< always an object, empty when the event has no data
    /// Host time; -1 where QEMU could not tell it.
    std::int64_t seconds = -1;
    std::int64_t microseconds = -1;
};

/// QEMU's refusal of a command (qmp-spec 2.4.2). Its text is QEMU's own: escape it before showing
/// it.
struct CommandError {
    std::string error_class;  ///< "GenericError", "CommandNotFound", "DeviceNotFound", ...
    std::string description;
};

/// The answer to a command (qmp-spec 2.4).
struct Reply {
    std::optional<CommandId> id;  ///< nothing when there is none, or none that could be ours
    Json value;                   ///< what "return" held; null with an error
    std::optional<CommandError> error;
    /// Events that came on this connection before it; set by Session.
    std::uint64_t events_before = 0;
};

using Message = std::variant<Greeting, Event, Reply>;

/// Reads one line. Text is kept as QEMU sent it.
/// Errors: protocol_error for what is no JSON object, is nested deeper than 64, has more than
/// `max_values` values, has none or several of the four keys, or members of wrong types.
Result<Message> parse_message(std::string_view line);

/// Values in one message beyond which it is refused: a small text can make a huge document.
inline constexpr std::size_t max_values = 500'000;

/// VersionInfo. Errors: protocol_error.
Result<Version> parse_version(const Json& value);

/// A refusal as an Error for people, text made safe: "QMP device_del: Device 'n0' not found".
Error to_error(std::string_view command, const CommandError& refusal);

}  // namespace noxsup::qmp
