// The supervisor as a process: the one place where everything is put together.
#pragma once

#include <filesystem>

#include "supervisor/base/log.hpp"

namespace noxsup::daemon {

struct DaemonOptions {
    std::filesystem::path home;
    bool system_scope = false;
    int ready_fd = -1;  ///< told when the socket listens, or why it never will; see daemon_launcher
    bool autostart = true;  ///< start the VMs that start with the host, once a boot of it
    LogLevel log_level = LogLevel::info;
};

/// Serves the home until SIGTERM, SIGINT or daemon.stop; the VMs go on. Returns the exit code.
int run(const DaemonOptions& options);

}  // namespace noxsup::daemon
