#include "supervisor/cli/progress_display.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "supervisor/base/json.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/cli/duration.hpp"
#include "supervisor/cli/table.hpp"
#include "supervisor/cli/terminal.hpp"

namespace noxsup::cli {
namespace {

constexpr std::chrono::milliseconds live_interval{100};
constexpr std::size_t default_columns = 80;

std::size_t terminal_columns() {
    winsize size{};
    if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return default_columns;
    return size.ws_col;
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::string one_line(std::string_view text) {
    auto line = escape_for_terminal(text);
    std::ranges::replace(line, '\n', ' ');
    return line;
}

std::string titled(std::string_view title, std::string_view text) {
    return title.empty() ? std::string(text) : std::string(title) + ": " + std::string(text);
}

/// The first so many columns of a text.
std::string clipped(const std::string& text, std::size_t columns) {
    if (display_width(text) <= columns) return text;
    std::string out;
    for (const char c : text) {
        out += c;
        if (display_width(out) > columns) {
            out.pop_back();
            break;
        }
    }
    return out;
}

}  // namespace

ProgressStyle progress_style(const GlobalOptions& options) {
    if (options.progress == ProgressMode::json) return ProgressStyle::json;
    const bool for_programs = options.format == Format::json;
    if (options.progress == ProgressMode::none || options.quiet || for_programs) {
        return ProgressStyle::silent;
    }
    return is_capable_terminal(STDERR_FILENO) ? ProgressStyle::live : ProgressStyle::lines;
}

std::string describe_progress(const control::Progress& progress, double units_a_second) {
    auto text = one_line(progress.stage);
    const bool bytes = progress.unit == "bytes";
    const auto amount = [&](std::uint64_t value) {
        return bytes ? format_bytes(value) : std::to_string(value);
    };
    if (progress.total != 0) {
        const auto share = static_cast<double>(progress.done) / static_cast<double>(progress.total);
        text += " " + std::to_string(std::llround(std::min(share, 1.0) * 100)) + "%";
        if (bytes) text += " of " + amount(progress.total);
    } else if (progress.done != 0) {
        text += " " + amount(progress.done);
    }
    if (bytes && units_a_second >= 1) {
        text += ", " + format_bytes(static_cast<unsigned long long>(units_a_second)) + "/s";
        if (progress.total > progress.done) {
            const auto left = static_cast<double>(progress.total - progress.done) / units_a_second;
            text += ", " + format_seconds(left) + " left";
        }
    }
    return text;
}

void ProgressDisplay::progress(std::string_view title, const control::Progress& progress) {
    if (style_ == ProgressStyle::silent) return;
    if (style_ == ProgressStyle::json) {
        Json line = {{"version", 1},          {"event", "progress"},
                     {"vm", title},           {"stage", progress.stage},
                     {"done", progress.done}, {"total", progress.total},
                     {"unit", progress.unit}};
        if (title.empty()) line["vm"] = nullptr;
        if (progress.seconds) line["seconds"] = *progress.seconds;
        write_text(STDERR_FILENO, dump_json(line) + "\n");
        return;
    }
    const auto key = std::string(title) + "\n" + progress.stage;
    auto found = stages_.find(key);
    const bool is_new = found == stages_.end();
    if (is_new) {
        found = stages_.emplace(key, Stage{Clock::now(), progress.done, {}}).first;
    }
    if (progress.seconds) {
        stages_.erase(found);
        write_line(title, one_line(progress.stage) + " " + format_seconds(*progress.seconds));
        return;
    }
    if (style_ == ProgressStyle::live) {
        show_live(title, progress, found->second);
    } else if (is_new) {
        write_line(title, one_line(progress.stage) + " ...");
    }
}

void ProgressDisplay::show_live(std::string_view title, const control::Progress& progress,
                                Stage& stage) {
    const auto now = Clock::now();
    if (now - stage.shown < live_interval) return;
    stage.shown = now;
    const auto elapsed = seconds_since(stage.began);
    const auto moved = progress.done - std::min(stage.first, progress.done);
    const auto rate = elapsed > 0.5 ? static_cast<double>(moved) / elapsed : 0.0;
    const auto text = titled(title, describe_progress(progress, rate));
    live_ = clipped(text, terminal_columns() - 1);
    write_text(STDERR_FILENO, "\r\x1b[K" + live_);
}

void ProgressDisplay::note(std::string_view title, std::string_view text) {
    if (style_ == ProgressStyle::silent) return;
    if (style_ == ProgressStyle::json) {
        Json line = {{"version", 1}, {"event", "note"}, {"vm", title}, {"text", text}};
        if (title.empty()) line["vm"] = nullptr;
        write_text(STDERR_FILENO, dump_json(line) + "\n");
        return;
    }
    write_line(title, one_line(text));
}

void ProgressDisplay::write_line(std::string_view title, std::string_view text) {
    clear_line();
    write_text(STDERR_FILENO, titled(title, text) + "\n");
}

void ProgressDisplay::clear_line() {
    if (live_.empty()) return;
    live_.clear();
    write_text(STDERR_FILENO, "\r\x1b[K");
}

}  // namespace noxsup::cli
