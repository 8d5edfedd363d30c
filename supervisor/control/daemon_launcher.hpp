// Starting the supervisor on demand: connect, or start `noxsup daemon` and connect.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "supervisor/base/result.hpp"
#include "supervisor/control/client.hpp"

namespace noxsup::control {

/// How to reach the supervisor, and how to start it.
struct LaunchOptions {
    std::filesystem::path socket;
    /// argv of the daemon without `--ready-fd N`, which is added. Empty: never start one.
    std::vector<std::string> daemon;
    std::filesystem::path log;  ///< its stderr, appended; emptied first when beyond 1 MiB
    std::chrono::milliseconds timeout{15000};  ///< from the start to READY
};

/// Connects; where nobody listens, starts the daemon detached from this session and terminal, waits
/// until it is ready and connects. Of many at once one daemon lives and all connect to it.
/// Errors: those of Client::connect; what the daemon failed with, its log's last lines as evidence.
boost::asio::awaitable<Result<std::unique_ptr<Client>>> connect_or_start(LaunchOptions options);

/// The daemon's side of `--ready-fd N`: tells the launcher that the socket listens. No-op for -1;
/// closes the descriptor.
void report_ready(int ready_fd);
/// Tells it why there will be no daemon. No-op for -1; closes the descriptor.
void report_failure(int ready_fd, const Error& error);

}  // namespace noxsup::control
