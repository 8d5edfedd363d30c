#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "supervisor/cli/event_view.hpp"
#include "supervisor/cli/terminal.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/control/methods.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::cli {
namespace {

constexpr std::chrono::milliseconds first_pause{100};
constexpr std::chrono::milliseconds longest_pause{2000};

/// Shows what comes and keeps in mind how far it has come.
class EventReader {
  public:
    explicit EventReader(const GlobalOptions& options) : renderer_(options) {}

    /// One `event` of the supervisor. False when the reader of our output has gone.
    bool take(const Json& message) {
        heard_ = true;
        const auto stream = json_member<std::string>(message, "stream");
        if (stream) stream_ = *stream;
        const auto* event = detail::find_member(message, "event");
        const auto seq = json_member<std::uint64_t>(event != nullptr ? *event : message, "seq");
        if (seq) seq_ = *seq;
        if (event != nullptr) reader_gone_ = !write_text(STDOUT_FILENO, renderer_.render(*event));
        return !reader_gone_;
    }

    [[nodiscard]] bool reader_gone() const { return reader_gone_; }
    /// True once when anything has come since the last call.
    [[nodiscard]] bool take_heard() { return std::exchange(heard_, false); }
    /// True once a supervisor has begun to tell.
    [[nodiscard]] bool began() const { return !stream_.empty(); }
    /// Makes a subscription go on where this one has come to.
    void go_on(Json& params) const {
        params["stream"] = stream_;
        params["since"] = seq_;
    }

  private:
    EventRenderer renderer_;
    std::string stream_;
    std::uint64_t seq_ = 0;
    bool heard_ = false;
    bool reader_gone_ = false;
};

/// True when the supervisor went away, or was told to, and may come back.
bool supervisor_left(const Error& error) {
    return error.code == ErrorCode::supervisor_unreachable || error.code == ErrorCode::interrupted;
}

/// Until the reader of our output has gone, or Ctrl-C. A supervisor that ends or executes itself
/// anew is waited for, not started: somebody may have ended it on purpose.
Result<int> follow(Session& session, Json params, EventReader& reader) {
    const auto take = [&reader](const Json& message) { return reader.take(message); };
    auto pause = first_pause;
    for (;;) {
        const auto outcome = session.subscribe(control::method::events_subscribe, params, take);
        if (reader.reader_gone()) return 0;
        if (!outcome && (!reader.began() || !supervisor_left(outcome.error()))) {
            return outcome.error();
        }
        if (reader.take_heard()) {
            session.note("the supervisor has ended; waiting for the next");
            pause = first_pause;
        }
        session.never_start();
        session.disconnect();
        std::this_thread::sleep_for(pause);
        pause = std::min(2 * pause, longest_pause);
        reader.go_on(params);
    }
}

}  // namespace

Result<int> run_verb(Session& session, const EventsOptions& options) {
    for (const auto& name : options.names) NOXSUP_TRY(spec::check_vm_name(name));
    Json params{{"follow", options.follow}, {"names", options.names}};
    if (options.lines) params["last"] = *options.lines;
    EventReader reader(session.options());
    if (options.follow) return follow(session, std::move(params), reader);
    const auto outcome =
        session.subscribe(control::method::events_subscribe, std::move(params),
                          [&reader](const Json& message) { return reader.take(message); });
    if (reader.reader_gone() || outcome) return 0;
    return outcome.error();
}

}  // namespace noxsup::cli
