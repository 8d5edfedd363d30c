// At the supervisor's start, where no systemd does it at boot: a bridge's set-up that nobody
// confirmed goes back.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <filesystem>

#include "supervisor/base/command.hpp"

namespace noxsup::daemon {

/// Whether there is something to do for us: a set-up waits, we are root, and there is no systemd
/// whose noxsup-network-rollback.service has done it before the network came up.
bool needs_network_recovery(const std::filesystem::path& journals,
                            const std::filesystem::path& systemd = "/run/systemd/system");

/// Runs `noxsup network rollback` to its end; what goes wrong is logged, and tried again at the
/// next start. One that can still be confirmed is left alone.
boost::asio::awaitable<void> recover_network(CommandRunner& runner);

}  // namespace noxsup::daemon
