// The worker's voice: progress lines at a bearable rate, then one result or error.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging::worker {

/// Tells how far one stage has come; at most five lines a second reach standard output.
class ProgressReport {
  public:
    explicit ProgressReport(std::string stage, std::string unit = "bytes");

    /// @param start what was done before this process began: it counts for no rate
    void begin(std::uint64_t start, std::optional<std::uint64_t> total);
    void update(std::uint64_t done);
    /// The last line of the stage, whatever the time.
    void finish(std::uint64_t done);

  private:
    void print(std::uint64_t done);

    using Clock = std::chrono::steady_clock;
    std::string stage_;
    std::string unit_;
    std::optional<std::uint64_t> total_;
    Clock::time_point printed_;
    Clock::time_point window_start_;
    std::uint64_t window_done_ = 0;
    double rate_ = 0;
};

/// Writes a line that is not progress of its own: a note for the user.
void report_note(const std::string& stage, const std::string& note);
/// The last line; returns the exit code that goes with it.
int report_answer(const Result<Json>& answer);

}  // namespace noxsup::imaging::worker
