#include <unistd.h>

#include "supervisor/base/async.hpp"
#include "supervisor/cli/duration.hpp"
#include "supervisor/cli/terminal.hpp"
#include "supervisor/cli/usage_view.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {
namespace {

constexpr std::chrono::milliseconds shortest_interval{100};
/// Between the two looks of a single answer.
constexpr std::chrono::milliseconds single_interval{1000};
/// To the upper left corner; what is behind the text is cleared line by line, which does not
/// flicker.
constexpr std::string_view to_the_top = "\x1b[H";
constexpr std::string_view clear_line = "\x1b[K\n";
constexpr std::string_view clear_below = "\x1b[J";

boost::asio::awaitable<Result<>> rest(std::chrono::milliseconds time) {
    const bool whole = co_await sleep_for(time);
    if (!whole) co_return Error{ErrorCode::interrupted, "interrupted"};
    co_return Result<>();
}

Result<Json> look(Session& session) {
    NOXSUP_TRY_VALUE(auto reply, session.call(control::method::vm_usage));
    return json_member<Json>(reply.result, "vms");
}

std::string screen(std::string_view text) {
    std::string drawn(to_the_top);
    for (const char c : text) {
        if (c == '\n') {
            drawn += clear_line;
        } else {
            drawn += c;
        }
    }
    return drawn += clear_below;
}

}  // namespace

Result<int> run_verb(Session& session, const TopOptions& options) {
    NOXSUP_TRY_VALUE(auto interval, parse_duration(options.interval, "--interval"));
    if (interval < shortest_interval) {
        return Error{ErrorCode::invalid_argument, "--interval is shorter than 100 ms",
                     "2s is a good one"};
    }
    const bool drawing = !options.once && session.options().format == Format::table &&
                         !session.options().quiet && is_capable_terminal(STDOUT_FILENO);
    NOXSUP_TRY_VALUE(auto before, look(session));
    if (!drawing) {
        NOXSUP_TRY(session.run(rest(single_interval)));
        NOXSUP_TRY_VALUE(const auto after, look(session));
        return session.print(usage_document(usage_between(before, after)));
    }
    // The first picture comes at once, without rates.
    write_text(STDOUT_FILENO, clear_below);
    for (auto shown = usage_between(Json::array(), before);;) {
        if (!write_text(STDOUT_FILENO, screen(usage_document(std::move(shown)).text))) return 0;
        NOXSUP_TRY(session.run(rest(interval)));
        NOXSUP_TRY_VALUE(auto after, look(session));
        shown = usage_between(before, after);
        before = std::move(after);
    }
}

}  // namespace noxsup::cli
