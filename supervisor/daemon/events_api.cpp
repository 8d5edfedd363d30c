#include "supervisor/daemon/events_api.hpp"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "supervisor/base/sync.hpp"
#include "supervisor/control/methods.hpp"
#include "supervisor/daemon/params.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::daemon {
namespace {

using control::CallContext;
using control::Reply;
using ReplyAwaitable = boost::asio::awaitable<Result<Reply>>;

/// What all subscriptions share.
struct Feed {
    Feed(vm::EventHub& events, std::function<bool(const std::string& name)> known,
         const boost::asio::any_io_executor& executor)
        : hub(events), exists(std::move(known)), news(executor) {}

    vm::EventHub& hub;
    std::function<bool(const std::string& name)> exists;
    Condition news;
};

struct Subscription {
    bool follow = false;
    vm::EventCursor cursor;
};

Result<Subscription> parse_subscription(const Feed& feed, const Json& params) {
    Subscription wanted;
    NOXSUP_TRY_VALUE(wanted.follow, parameter(params, "follow", false));
    NOXSUP_TRY_VALUE(const auto names, parameter(params, "names", std::vector<std::string>()));
    NOXSUP_TRY_VALUE(const auto stream, parameter(params, "stream", std::string()));
    NOXSUP_TRY_VALUE(const auto since, parameter(params, "since", std::uint64_t{0}));
    NOXSUP_TRY_VALUE(const auto last, parameter(params, "last", std::uint64_t{UINT32_MAX}));
    for (const auto& name : names) {
        NOXSUP_TRY(spec::check_vm_name(name));
        // Who follows may wait for a VM that is yet to come.
        if (wanted.follow || feed.exists(name) || feed.hub.knows(name)) continue;
        return Error{ErrorCode::vm_not_found, "there is no VM named " + name, "see noxsup list"};
    }
    wanted.cursor =
        stream.empty() ? feed.hub.from_kept(names, last) : feed.hub.after(since, stream, names);
    return wanted;
}

ReplyAwaitable subscribe(Feed& feed, CallContext& call, Json params) {
    NOXSUP_CO_TRY_VALUE(auto wanted, parse_subscription(feed, params));
    const Error interrupted(ErrorCode::interrupted, "interrupted");
    // Nobody's work is lost with it, so it holds up no re-execution; the client comes back.
    call.stand_by();
    const auto& stream = feed.hub.stream();
    Json beginning{{"stream", stream}, {"seq", wanted.cursor.next - 1}};
    bool going = co_await call.send_event(std::move(beginning));
    while (going) {
        const auto event = feed.hub.read(wanted.cursor);
        if (event) {
            Json message{{"stream", stream}, {"event", vm::to_json(*event)}};
            going = co_await call.send_event(std::move(message));
        } else if (wanted.follow) {
            co_await feed.news.wait();
            going = !call.cancelled();
        } else {
            co_return Reply();
        }
    }
    co_return interrupted;
}

}  // namespace

void register_events_api(control::Server& server, const boost::asio::any_io_executor& executor,
                         vm::EventHub& hub, std::function<bool(const std::string& name)> exists) {
    auto feed = std::make_shared<Feed>(hub, std::move(exists), executor);
    hub.set_listener([feed] { feed->news.notify_all(); });
    server.register_method(control::method::events_subscribe,
                           [feed](CallContext& call, Json params) {
                               return subscribe(*feed, call, std::move(params));
                           });
    vm::Event started;
    started.kind = vm::EventKind::supervisor;
    started.event = "started";
    started.data = dump_json({{"version", NOXSUP_VERSION}, {"pid", ::getpid()}});
    hub.publish(std::move(started));
}

}  // namespace noxsup::daemon
