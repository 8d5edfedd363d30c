// The command line's end of the control protocol: connect, hello, calls with progress, cancel.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::control {

/// One `progress` notification.
struct Progress {
    std::string stage;
    std::uint64_t done = 0;
    std::uint64_t total = 0;  ///< 0: unknown
    std::string unit;
    std::optional<double> seconds;  ///< set once, when the stage has ended
};

/// What a call brought back.
struct ClientReply {
    Json result = Json::object();
    std::vector<UniqueFd> fds;
};

/// Who listens to a running call; each may be empty.
struct CallListener {
    std::function<void(const Progress&)> on_progress;
    std::function<void(std::string_view)> on_note;
    /// The parameters of one `event`, in order. Nothing more is read before it returns; it may
    /// close() the client.
    std::function<void(const Json&)> on_event;
};

/// What the supervisor said at hello.
struct ServerInfo {
    std::string version;
    int pid = 0;
    std::string home;
    std::string scope;
};

/// A connection past hello. Several calls may run at once; everything on one executor.
class Client {
  public:
    /// Connects and says hello. Errors: supervisor_unreachable (no socket, refused, no answer in
    /// `timeout`), protocol_mismatch with the fix, or what the supervisor refused with.
    static boost::asio::awaitable<Result<std::unique_ptr<Client>>> connect(
        std::filesystem::path socket,
        std::chrono::milliseconds timeout = std::chrono::milliseconds(10000));

    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    /// Closes the connection: the supervisor cancels what still runs.
    ~Client();

    /// Makes one call and waits for its end, however long. The descriptors are borrowed.
    /// Errors: the supervisor's own; supervisor_unreachable when the connection breaks;
    /// invalid_argument when the parameters do not fit into a message.
    /// Cancellation: completes with `interrupted` at once; the supervisor is told.
    boost::asio::awaitable<Result<ClientReply>> call(std::string method, Json params,
                                                     std::vector<int> fds = {},
                                                     CallListener listener = {});

    /// Asks the supervisor to cancel every running call; their call() completes with its answer.
    void cancel_calls();
    /// Breaks the connection: every running call() completes with `interrupted`.
    void close();

    [[nodiscard]] const ServerInfo& server() const;

  private:
    struct State;
    explicit Client(std::shared_ptr<State> state);
    std::shared_ptr<State> state_;
};

}  // namespace noxsup::control
