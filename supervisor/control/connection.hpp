// One connection of the control server: lines in, calls as tasks, a bounded queue of lines out.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "supervisor/base/async.hpp"
#include "supervisor/base/unix_socket.hpp"
#include "supervisor/control/rpc.hpp"
#include "supervisor/control/server.hpp"

namespace noxsup::control {

using MethodTable = std::map<std::string, Handler, std::less<>>;

/// Owned by its run() coroutine; the server holds a weak reference to close it.
class Connection : public std::enable_shared_from_this<Connection> {
  public:
    /// @pre `options` and `methods` outlive run()
    Connection(boost::asio::any_io_executor executor, UniqueFd socket, PeerCredentials peer,
               const ServerOptions& options, const MethodTable& methods);

    /// Serves until the peer is gone, misbehaves, idles too long, or begin_close().
    boost::asio::awaitable<void> run();
    /// Takes no more calls, cancels the running ones, sends what is due for two seconds, ends.
    void begin_close();
    /// Without those that stand by.
    [[nodiscard]] std::size_t running_calls() const;

  private:
    class Call;
    struct Outgoing {
        std::string line;
        std::vector<UniqueFd> fds;
    };
    using Clock = std::chrono::steady_clock;

    boost::asio::awaitable<void> read_lines();
    boost::asio::awaitable<void> write_lines();
    boost::asio::awaitable<void> watch_deadlines();
    static boost::asio::awaitable<void> run_call(std::shared_ptr<Connection> self,
                                                 std::shared_ptr<Call> call, const Handler& handler,
                                                 Json params);

    /// Takes what has arrived; false when the connection is to end.
    bool receive();
    bool take_line(std::string_view line);
    bool take_request(Request request);
    bool take_hello(const Request& request);
    void take_cancel(const Json& params);
    void start_call(Request request, std::vector<UniqueFd> fds);
    void answer(Call& call, Result<Reply> outcome);

    void push(std::string line, std::vector<UniqueFd> fds = {});
    void push_error(CallId id, Error error, RpcCode rpc_code = RpcCode::noxsup_error);
    void push_notification(std::string_view method, Json params);
    boost::asio::awaitable<bool> push_event(const Call& call, Json params);
    bool send_front();
    void break_off();
    void cancel_calls();
    [[nodiscard]] Clock::time_point next_deadline() const;

    boost::asio::any_io_executor executor_;
    boost::asio::posix::stream_descriptor socket_;
    PeerCredentials peer_;
    const ServerOptions& options_;
    const MethodTable& methods_;
    TaskGroup tasks_;  ///< the writer and the watch over deadlines

    LineFramer framer_;
    std::deque<UniqueFd> received_fds_;  ///< arrived, not yet claimed by a line
    std::map<CallId, std::shared_ptr<Call>> calls_;
    bool greeted_ = false;

    std::deque<Outgoing> queue_;
    std::size_t queued_bytes_ = 0;
    std::size_t front_sent_ = 0;
    /// The latest progress of each call and stage, sent when the queue is empty.
    std::map<std::pair<CallId, std::string>, Json> latest_progress_;

    boost::asio::steady_timer changed_;   ///< never fires; cancelled when the writer has work
    boost::asio::steady_timer room_;      ///< the same; cancelled when there is room for events
    boost::asio::steady_timer deadline_;  ///< cancelled when next_deadline() has moved closer
    Clock::time_point started_ = Clock::now();
    Clock::time_point last_activity_ = started_;
    Clock::time_point drain_until_;
    bool closing_ = false;   ///< no more lines are read
    bool draining_ = false;  ///< the writer ends when its queue is empty
    bool broken_ = false;    ///< nothing more can be sent
    bool ended_ = false;
};

}  // namespace noxsup::control
