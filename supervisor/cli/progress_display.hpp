// Progress and notes of running calls on standard error: a live line, plain lines, JSON lines, or
// nothing.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <string_view>

#include "supervisor/cli/options.hpp"
#include "supervisor/control/client.hpp"

namespace noxsup::cli {

/// How progress is shown.
enum class ProgressStyle { live, lines, json, silent };

/// What the options and the terminal ask for. With JSON output nothing else goes out unless
/// --progress json asks for it.
ProgressStyle progress_style(const GlobalOptions& options);

/// One text for a stage: "image 45% of 320 MiB, 12 MiB/s, 15 s left".
std::string describe_progress(const control::Progress& progress, double units_a_second);

/// Shows what several calls tell, each under its title (the VM's name where there are several).
class ProgressDisplay {
  public:
    explicit ProgressDisplay(ProgressStyle style) : style_(style) {}
    ProgressDisplay(const ProgressDisplay&) = delete;
    ProgressDisplay& operator=(const ProgressDisplay&) = delete;
    ~ProgressDisplay() { clear_line(); }

    void progress(std::string_view title, const control::Progress& progress);
    void note(std::string_view title, std::string_view text);
    /// Takes the live line away, so that other output can stand there.
    void clear_line();

  private:
    using Clock = std::chrono::steady_clock;
    struct Stage {
        Clock::time_point began;
        std::uint64_t first = 0;  ///< `done` at the first report: a resumed download begins there
        Clock::time_point shown;
    };

    void show_live(std::string_view title, const control::Progress& progress, Stage& stage);
    void write_line(std::string_view title, std::string_view text);

    ProgressStyle style_;
    std::map<std::string, Stage, std::less<>> stages_;
    std::string live_;  ///< what stands on the live line
};

}  // namespace noxsup::cli
