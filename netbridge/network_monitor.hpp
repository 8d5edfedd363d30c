// NetworkMonitor: the kernel's own news about neighbours and vanished devices.
#pragma once

#include <memory>
#include <vector>

#include "netbridge/kernel_network.hpp"

namespace noxsup::netbridge {

/// What has happened since the last look.
struct NetworkChanges {
    std::vector<Neighbour> neighbours;  ///< entries that are new or changed
    std::vector<int> removed_links;     ///< indexes of devices that are gone
    bool missed =
        false;  ///< more happened than the socket could hold: `neighbours` is the whole table
};

/// Subscribed to rtnetlink's neighbour and link groups. Needs no rights.
class NetworkMonitor {
  public:
    /// Errors: io_error.
    static Result<std::unique_ptr<NetworkMonitor>> open();
    NetworkMonitor(const NetworkMonitor&) = delete;
    NetworkMonitor& operator=(const NetworkMonitor&) = delete;
    ~NetworkMonitor();

    /// Readable when drain() has something; borrowed.
    [[nodiscard]] int fd() const;
    /// Everything since the last call; never waits. Errors: io_error.
    Result<NetworkChanges> drain();
    /// The whole neighbour table. Errors: io_error.
    static Result<std::vector<Neighbour>> table();

  private:
    struct Impl;
    explicit NetworkMonitor(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace noxsup::netbridge
