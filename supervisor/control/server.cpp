#include "supervisor/control/server.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio.hpp>
#include <cerrno>
#include <list>
#include <utility>

#include "supervisor/base/async.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/control/connection.hpp"

namespace noxsup::control {
namespace asio = boost::asio;

bool root_or_myself(const PeerCredentials& peer) {
    return peer.uid == 0 || peer.uid == ::geteuid();
}

namespace {

std::string describe(const PeerCredentials& peer) {
    return "uid " + std::to_string(peer.uid) + " pid " + std::to_string(peer.pid);
}

/// Tells the peer why and closes; one attempt, for it may not read at all.
void refuse(UniqueFd socket, const Error& error) {
    const auto line = encode(ErrorResponse{CallId(), RpcCode::noxsup_error, error});
    // A peer that is gone or full has nothing to be told.
    (void)send_with_fds(socket.get(), line, {});
}

}  // namespace

struct Server::State {
    State(asio::any_io_executor used, ServerOptions given)
        : executor(std::move(used)), options(std::move(given)), tasks(executor) {
        if (!options.allow) options.allow = root_or_myself;
    }

    struct Entry {
        uid_t uid;
        std::shared_ptr<Connection> connection;
    };

    asio::any_io_executor executor;
    ServerOptions options;
    MethodTable methods;
    TaskGroup tasks;
    std::list<Entry> entries;
    bool stopping = false;
    asio::posix::stream_descriptor* listener = nullptr;  ///< set while serve() runs

    void welcome(UniqueFd socket);
    [[nodiscard]] bool crowded(uid_t uid) const;
    static asio::awaitable<void> run(State& state, std::list<Entry>::iterator entry);
};

bool Server::State::crowded(uid_t uid) const {
    if (entries.size() >= options.max_connections) return true;
    if (uid == 0 || uid == ::geteuid()) return false;
    const auto same = std::ranges::count(entries, uid, &Entry::uid);
    return static_cast<std::size_t>(same) >= options.max_connections_a_uid;
}

void Server::State::welcome(UniqueFd socket) {
    const auto peer = peer_credentials(socket.get());
    if (!peer) {
        log_warning("a control connection without credentials: " + peer.error().message);
        return;
    }
    if (!options.allow(*peer)) {
        log_warning("control connection of " + describe(*peer) + " refused");
        refuse(std::move(socket),
               Error(ErrorCode::host_lacks_right, "this user may not use the supervisor",
                     "become a member of group noxsup, or work in your own scope with "
                     "--user-scope"));
        return;
    }
    if (crowded(peer->uid)) {
        log_warning("control connection of " + describe(*peer) + " refused: too many");
        refuse(std::move(socket),
               Error(ErrorCode::failed, "the supervisor has too many connections",
                     "repeat the command when others have ended"));
        return;
    }
    log_debug("control connection of " + describe(*peer));
    auto connection =
        std::make_shared<Connection>(executor, std::move(socket), *peer, options, methods);
    const auto entry = entries.insert(entries.end(), {peer->uid, std::move(connection)});
    tasks.spawn("control connection", run(*this, entry));
}

asio::awaitable<void> Server::State::run(State& state, std::list<Entry>::iterator entry) {
    const auto connection = entry->connection;
    co_await connection->run();
    state.entries.erase(entry);
}

Server::Server(asio::any_io_executor executor, ServerOptions options)
    : state_(std::make_shared<State>(std::move(executor), std::move(options))) {}

Server::~Server() = default;

void Server::register_method(std::string_view method, Handler handler) {
    state_->methods.insert_or_assign(std::string(method), std::move(handler));
}

asio::awaitable<void> Server::serve(UniqueFd listener) {
    const auto state = state_;
    co_await asio::this_coro::throw_if_cancelled(false);
    asio::posix::stream_descriptor waiting(state->executor, listener.release());
    state->listener = &waiting;
    while (!state->stopping) {
        const auto [failure] = co_await waiting.async_wait(
            asio::posix::stream_descriptor::wait_read, asio::as_tuple(asio::use_awaitable));
        if (failure || state->stopping) break;
        UniqueFd socket(
            ::accept4(waiting.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (socket) {
            state->welcome(std::move(socket));
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            log_error("cannot accept a control connection: out of descriptors or memory");
            co_await sleep_for(std::chrono::milliseconds(200));
        }
    }
    state->stopping = true;
    state->listener = nullptr;
    boost::system::error_code ignored;
    waiting.close(ignored);
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    for (const auto& entry : state->entries) entry.connection->begin_close();
    co_await state->tasks.join();
}

void Server::stop() {
    state_->stopping = true;
    if (state_->listener != nullptr) state_->listener->cancel();
}

std::size_t Server::connections() const {
    return state_->entries.size();
}

std::size_t Server::running_calls() const {
    std::size_t sum = 0;
    for (const auto& entry : state_->entries) sum += entry.connection->running_calls();
    return sum;
}

}  // namespace noxsup::control
