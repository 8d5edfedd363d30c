// The guest agent on its socket: typed commands with deadlines, for agents that may not be there.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "qmp/guest_agent.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::qmp {

/// How long to wait for a guest.
struct GuestAgentOptions {
    /// For each command, its synchronisation included.
    std::chrono::steady_clock::duration command_deadline = std::chrono::seconds(5);
    /// After guest-shutdown only refusals are answered: silence this long means that it is under
    /// way.
    std::chrono::steady_clock::duration shutdown_patience = std::chrono::seconds(2);
};

/// A program to run in the guest.
struct GuestProgram {
    std::string path;  ///< absolute, in the guest
    std::vector<std::string> arguments;
    std::vector<std::string> environment;  ///< "NAME=value"
    std::string input;                     ///< bytes for its standard input
    bool capture_output = true;
};

/// One connection to the socket behind the port org.qemu.guest_agent.0. Lives and dies as Client
/// does. Everything an agent says is the guest's word: never a reason to trust, only to show.
///
/// All commands fail with timeout when no agent answers (absent, not started yet, or hung),
/// guest_failed when it refuses, sends nonsense or the port is closed, interrupted by cancellation
/// or close().
class GuestAgent {
  public:
    /// @pre the socket is non-blocking
    GuestAgent(const boost::asio::any_io_executor& executor, UniqueFd socket,
               GuestAgentOptions options = {});
    GuestAgent(const GuestAgent&) = delete;
    GuestAgent& operator=(const GuestAgent&) = delete;
    ~GuestAgent();

    /// Connects to QEMU's end of the port; says nothing about an agent. Errors: qemu_failed,
    /// io_error.
    static Result<std::unique_ptr<GuestAgent>> open(const boost::asio::any_io_executor& executor,
                                                    const std::filesystem::path& path,
                                                    GuestAgentOptions options = {});

    /// Any command of qga/qapi-schema.json that answers.
    boost::asio::awaitable<Result<Json>> execute(Request request);

    /// guest-ping, after a new synchronisation: an agent answers now.
    boost::asio::awaitable<Result<>> ping();
    /// guest-network-get-interfaces.
    boost::asio::awaitable<Result<std::vector<GuestInterface>>> network_interfaces();
    /// guest-shutdown. Completes when it was accepted; the guest then takes its time.
    boost::asio::awaitable<Result<>> shutdown();
    /// guest-exec: the guest's process id.
    boost::asio::awaitable<Result<std::int64_t>> exec(GuestProgram program);
    /// guest-exec-status. The output is told once, when the program has exited.
    boost::asio::awaitable<Result<GuestExecStatus>> exec_status(std::int64_t pid);

    /// Ends the connection now; everything that waits gets an error.
    void close();
    [[nodiscard]] bool is_open() const;

  private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace noxsup::qmp
