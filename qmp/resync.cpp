#include "qmp/resync.hpp"

#include <boost/asio/this_coro.hpp>
#include <iterator>

#include "supervisor/base/json.hpp"

namespace noxsup::qmp {

namespace asio = boost::asio;

namespace {

/// The value of one reply as a T, or the refusal as an error.
template <class T>
Result<T> typed(std::string_view command, const Reply& reply, Result<T> (*parse)(const Json&)) {
    if (reply.error) return to_error(command, *reply.error);
    return parse(reply.value);
}

Result<Snapshot> parse_snapshot(const std::vector<Reply>& replies) {
    Snapshot snapshot;
    NOXSUP_TRY_VALUE(snapshot.status, typed("query-status", replies.at(0), &parse_status));
    NOXSUP_TRY_VALUE(snapshot.version, typed("query-version", replies.at(1), &parse_version));
    NOXSUP_TRY_VALUE(snapshot.block_devices,
                     typed("query-block", replies.at(2), &parse_block_devices));
    NOXSUP_TRY_VALUE(snapshot.migration, typed("query-migrate", replies.at(3), &parse_migration));
    return snapshot;
}

}  // namespace

asio::awaitable<Result<Resynced>> connect_with_resync(std::filesystem::path path,
                                                      ClientOptions options) {
    const auto executor = co_await asio::this_coro::executor;
    NOXSUP_CO_TRY_VALUE(auto client, Client::open(executor, path, options));
    std::vector<Request> requests;
    for (const auto* name : {"query-status", "query-version", "query-block", "query-migrate"}) {
        requests.emplace_back(name);
    }
    auto replies = co_await client->request_all(std::move(requests));
    if (!replies) co_return std::move(replies).error().context(path.string());
    Resynced resynced;
    NOXSUP_CO_TRY_VALUE(resynced.snapshot, parse_snapshot(*replies));
    // The status is the first reply: later events change it, earlier ones are part of it.
    resynced.snapshot.earlier_events = client->take_held_events(replies->front().events_before);
    resynced.client = std::move(client);
    co_return resynced;
}

}  // namespace noxsup::qmp
