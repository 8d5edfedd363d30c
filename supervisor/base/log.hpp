// The log of the daemon: one line an entry on stderr, levels by consequence.
#pragma once

#include <string_view>

namespace noxsup {

/// critical: we cannot serve; error: this request failed by our fault; warning: outside the
/// expected flow; info: the golden path; debug: for developers.
enum class LogLevel { debug, info, warning, error, critical };

/// Lines below it are dropped; `warning` until set. Call it once, before threads start.
void set_log_level(LogLevel level);

/// Writes "LEVEL text" to stderr in one write(2); text is escaped for terminals and kept on one
/// line.
void log(LogLevel level, std::string_view text);

inline void log_debug(std::string_view text) {
    log(LogLevel::debug, text);
}
inline void log_info(std::string_view text) {
    log(LogLevel::info, text);
}
inline void log_warning(std::string_view text) {
    log(LogLevel::warning, text);
}
inline void log_error(std::string_view text) {
    log(LogLevel::error, text);
}
inline void log_critical(std::string_view text) {
    log(LogLevel::critical, text);
}

}  // namespace noxsup
