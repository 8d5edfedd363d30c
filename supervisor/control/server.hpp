// The supervisor's end of the control protocol: connections, calls as tasks, progress,
// cancellation.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"
#include "supervisor/base/unix_socket.hpp"

namespace noxsup::control {

/// What a call gives back.
struct Reply {
    Reply() = default;
    // Handlers end with `co_return Reply(json)` or `co_return json`.
    Reply(Json value) : result(std::move(value)) {}  // NOLINT(google-explicit-constructor)
    Reply(Json value, std::vector<UniqueFd> passed)
        : result(std::move(value)), fds(std::move(passed)) {}

    Json result = Json::object();
    std::vector<UniqueFd> fds;  ///< handed to the caller; at most max_message_fds
};

/// What a handler knows of its call. Valid until the handler has completed; one thread.
class CallContext {
  public:
    CallContext() = default;
    CallContext(const CallContext&) = delete;
    CallContext& operator=(const CallContext&) = delete;
    virtual ~CallContext() = default;

    [[nodiscard]] virtual const PeerCredentials& peer() const = 0;
    /// How far a stage is. Cheap: only the latest is sent to a client that reads slowly.
    /// @param total 0 when unknown  @param unit "bytes", "percent", or empty
    virtual void progress(std::string_view stage, std::uint64_t done, std::uint64_t total,
                          std::string_view unit) = 0;
    /// A stage has ended after so many seconds.
    virtual void stage_ended(std::string_view stage, double seconds) = 0;
    /// One line for the user.
    virtual void note(std::string_view text) = 0;
    /// One `event` notification, in order and none left out. Completes when it is queued, which a
    /// client that reads slowly puts off: its events wait with the caller, not on the connection.
    /// False when the call was cancelled or its client has gone: the handler is to end.
    virtual boost::asio::awaitable<bool> send_event(Json params) = 0;
    /// From now on this call only waits for news: Server::running_calls() leaves it out.
    virtual void stand_by() = 0;
    /// The descriptor that came with the call as number `index`; each can be taken once.
    /// Errors: invalid_argument when there is none.
    virtual Result<UniqueFd> take_fd(std::size_t index) = 0;
    /// True once the caller cancelled the call or went away (the handler's coroutine gets terminal
    /// cancellation at that moment too).
    [[nodiscard]] virtual bool cancelled() const = 0;
};

/// Carries out one method. Cancellation comes as terminal cancellation of the coroutine; an error
/// it then ends with reaches the caller as `interrupted`. An exception is a bug of ours and becomes
/// `failed`.
using Handler =
    std::function<boost::asio::awaitable<Result<Reply>>(CallContext& call, Json params)>;

/// True for root and for the user this process runs as.
bool root_or_myself(const PeerCredentials& peer);

/// Limits and identity of a server.
struct ServerOptions {
    std::string version;         ///< told at hello
    std::string home;            ///< told at hello
    std::string scope = "user";  ///< told at hello: "user" or "system"
    /// Who may connect; by default root_or_myself().
    std::function<bool(const PeerCredentials&)> allow;
    std::size_t max_connections = 256;
    std::size_t max_connections_a_uid = 128;  ///< for everyone but root and this process's user
    std::size_t max_calls = 32;               ///< running at once on one connection
    std::chrono::milliseconds hello_timeout{5000};
    std::chrono::milliseconds idle_timeout{300000};  ///< without a running call
    /// Unsent replies beyond this drop the connection; notes and stages are left out far earlier.
    std::size_t max_unsent_bytes = std::size_t{4} << 20;
};

/// Serves one listening socket. Connections and calls are owned; none outlives serve().
class Server {
  public:
    Server(boost::asio::any_io_executor executor, ServerOptions options);
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server();

    /// @pre before serve(); `hello` and `cancel` are the server's own
    void register_method(std::string_view method, Handler handler);

    /// Accepts until stop() or cancellation; then cancels the running calls, sends what is due (at
    /// most two seconds) and completes when the last connection is closed.
    boost::asio::awaitable<void> serve(UniqueFd listener);

    /// Makes serve() end. Callable from a handler: its own reply still goes out.
    void stop();

    [[nodiscard]] std::size_t connections() const;
    /// Calls in progress on all connections, without those that stand by: 0 means idle.
    [[nodiscard]] std::size_t running_calls() const;

  private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace noxsup::control
