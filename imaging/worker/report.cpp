#include "imaging/worker/report.hpp"

#include <unistd.h>

#include "imaging/worker_protocol.hpp"
#include "supervisor/base/file.hpp"

namespace noxsup::imaging::worker {
namespace {

constexpr auto print_interval = std::chrono::milliseconds(200);
constexpr auto rate_window = std::chrono::seconds(2);

/// When the supervisor is gone its death signal ends us; a failed write changes nothing.
void print_line(const Json& json) {
    const auto ignored = write_all(STDOUT_FILENO, dump_json(json) + "\n", "standard output");
    static_cast<void>(ignored.has_value());
}

double seconds_between(std::chrono::steady_clock::time_point from,
                       std::chrono::steady_clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

}  // namespace

ProgressReport::ProgressReport(std::string stage, std::string unit)
    : stage_(std::move(stage)), unit_(std::move(unit)) {}

void ProgressReport::begin(std::uint64_t start, std::optional<std::uint64_t> total) {
    total_ = total;
    window_start_ = Clock::now();
    window_done_ = start;
    rate_ = 0;
    print(start);
}

void ProgressReport::update(std::uint64_t done) {
    const auto now = Clock::now();
    if (now - printed_ < print_interval) return;
    const auto elapsed = seconds_between(window_start_, now);
    if (elapsed > 0 && done >= window_done_) {
        const auto current = static_cast<double>(done - window_done_) / elapsed;
        rate_ = rate_ == 0 ? current : 0.5 * rate_ + 0.5 * current;
        if (now - window_start_ >= rate_window) {
            window_start_ = now;
            window_done_ = done;
        }
    }
    print(done);
}

void ProgressReport::finish(std::uint64_t done) {
    total_ = done;
    rate_ = 0;
    print(done);
}

void ProgressReport::print(std::uint64_t done) {
    printed_ = Clock::now();
    Progress progress;
    progress.stage = stage_;
    progress.unit = unit_;
    progress.done = done;
    progress.total = total_;
    if (rate_ >= 1) {
        progress.rate = static_cast<std::uint64_t>(rate_);
        if (total_ && *total_ > done) {
            const auto left = static_cast<double>(*total_ - done) / rate_;
            if (left < 1e6) progress.eta = std::chrono::seconds(static_cast<long>(left) + 1);
        }
    }
    Json json;
    json["progress"] = to_json(progress);
    print_line(json);
}

void report_note(const std::string& stage, const std::string& note) {
    Progress progress;
    progress.stage = stage;
    progress.note = note;
    Json json;
    json["progress"] = to_json(progress);
    print_line(json);
}

int report_answer(const Result<Json>& answer) {
    Json json;
    if (answer) {
        json["result"] = *answer;
    } else {
        json["error"] = to_json(answer.error());
    }
    print_line(json);
    return answer ? 0 : 2;
}

}  // namespace noxsup::imaging::worker
