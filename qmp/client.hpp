// The QMP client: a session on a UNIX socket, with a deadline for each wait and events in order.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "qmp/message.hpp"
#include "qmp/session.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::qmp {

/// How patient a client is, and with what limits.
struct ClientOptions {
    /// From the connection to the end of the negotiation. Another client on the same monitor, or a
    /// stopped QEMU, lets us connect and never greets.
    std::chrono::steady_clock::duration greeting_deadline = std::chrono::seconds(4);
    /// For each command that names none.
    std::chrono::steady_clock::duration command_deadline = std::chrono::seconds(10);
    /// Events kept while no handler is set; the oldest go first.
    std::size_t max_held_events = 4096;
    /// The longest line taken, in bytes.
    std::size_t max_line = max_line_bytes;
};

/// One connection to one QEMU. All on one executor's thread; not for use from several threads.
///
/// Any number of commands may be under way. Destroying the client, or close(), ends each of them
/// with an error; coroutines that wait in it stay valid (they share what they need). Nothing runs
/// on behalf of a client that is gone.
class Client {
  public:
    using EventHandler = std::function<void(const Event&)>;
    using ClosedHandler = std::function<void(const Error& why)>;

    /// Takes over a connected stream socket and begins to read. @pre the socket is non-blocking
    Client(const boost::asio::any_io_executor& executor, UniqueFd socket,
           ClientOptions options = {});
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client();

    /// Connects without waiting for the greeting. The path may be longer than sun_path.
    /// Errors: qemu_failed (nobody listens), io_error.
    static Result<std::unique_ptr<Client>> open(const boost::asio::any_io_executor& executor,
                                                const std::filesystem::path& path,
                                                ClientOptions options = {});

    /// open() and wait_ready().
    /// Errors: qemu_failed (nobody listens, or it hung up), timeout (no greeting), protocol_error.
    static boost::asio::awaitable<Result<std::unique_ptr<Client>>> connect(
        std::filesystem::path path, ClientOptions options = {});

    /// Completes when commands can be carried out; at once when they can already.
    /// Errors: timeout, qemu_failed, protocol_error, interrupted (by cancellation).
    boost::asio::awaitable<Result<>> wait_ready();

    /// Sends a command and waits for its "return". Commands given before wait_ready() has completed
    /// are written together with the negotiation. Errors: qemu_failed (QEMU refused, its words in
    /// the message, or hung up), timeout (QEMU may still carry it out), protocol_error, interrupted
    /// (cancellation; a command that was not yet written is not sent any more). After `quit` the
    /// end of the connection counts as its reply.
    boost::asio::awaitable<Result<Json>> execute(Request request);

    /// The same for callers that look at the class of a refusal: it is in the Reply, not an error.
    boost::asio::awaitable<Result<Reply>> request(Request request);

    /// Several commands in one write; completes with all replies, in the order of the requests.
    /// Errors: as request(); the first one that got no reply ends the wait for the others.
    boost::asio::awaitable<Result<std::vector<Reply>>> request_all(std::vector<Request> requests);

    /// Called for each event from now on, after the ones that were held because there was no
    /// handler. Runs on the reader's turn: it must not block; it may destroy or close the client.
    void set_event_handler(EventHandler handler);
    /// Takes those of the held events that are among the first `count` of this connection
    /// (Reply::events_before): what a reply already reflects.
    std::vector<Event> take_held_events(std::uint64_t count);
    /// Events given up because more than `max_held_events` were waiting.
    [[nodiscard]] std::size_t lost_events() const;

    /// Called once when the connection has ended by itself; not after close().
    void set_closed_handler(ClosedHandler handler);
    /// Completes with the reason once the connection has ended, by whatever cause; `interrupted`
    /// when this wait was cancelled.
    boost::asio::awaitable<Error> wait_closed();
    /// Ends the connection now; everything that waits gets an error.
    void close();
    [[nodiscard]] bool is_open() const;

    /// Null before it has come.
    [[nodiscard]] const Greeting* greeting() const;
    [[nodiscard]] const Session& session() const;

  private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace noxsup::qmp
