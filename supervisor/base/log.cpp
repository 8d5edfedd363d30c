#include "supervisor/base/log.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string>

#include "supervisor/base/text.hpp"

namespace noxsup {
namespace {

std::atomic<LogLevel> lowest{LogLevel::warning};

}  // namespace

void set_log_level(LogLevel level) {
    lowest = level;
}

void log(LogLevel level, std::string_view text) {
    if (level < lowest.load()) return;
    // The prefix is the one systemd's journal reads as the priority (sd-daemon(3)).
    constexpr std::array<std::string_view, 5> prefixes{
        "<7>debug: ", "<6>info: ", "<4>warning: ", "<3>error: ", "<2>critical: "};
    static const bool journal = ::getenv("JOURNAL_STREAM") != nullptr;
    auto prefix = prefixes.at(static_cast<std::size_t>(level));
    if (!journal) prefix.remove_prefix(3);
    auto line = std::string(prefix) + escape_for_terminal(text);
    std::ranges::replace(line, '\n', ' ');
    line += '\n';
    // A log that cannot be written has nowhere to say so.
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace noxsup
