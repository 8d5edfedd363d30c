// Watching a VM's TAP or macvtap and the neighbour table, so that its address is known the moment
// it has one.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <memory>
#include <vector>

#include "netbridge/address_book.hpp"
#include "netbridge/interface_name.hpp"
#include "netbridge/packet_socket.hpp"

namespace noxsup::netbridge {

/// Observes one network card of one guest. Frames reach us through a filter inside the kernel that
/// passes only DHCP replies to the VM's MAC on their way to the guest and ARP from the VM's MAC; a
/// busy guest costs nothing. Without the right to watch (CAP_NET_RAW) the neighbour table alone
/// remains.
class AddressWatcher {
  public:
    /// Starts to observe; what the neighbour table knows already is there at once.
    /// Errors: io_error, wrong_state when there is no such device.
    static Result<std::unique_ptr<AddressWatcher>> open(
        const boost::asio::any_io_executor& executor, const InterfaceName& tap,
        const MacAddress& guest_mac, GuestDevice device = GuestDevice::tap);
    AddressWatcher(const AddressWatcher&) = delete;
    AddressWatcher& operator=(const AddressWatcher&) = delete;
    ~AddressWatcher();

    /// What the guest was known to have when it was observed last; it goes on from there.
    void remember(const std::vector<IpAddress>& addresses);

    /// What is known now; never waits.
    [[nodiscard]] const std::vector<ObservedAddress>& addresses() const;
    /// True when the TAP itself is watched, false when only the neighbour table is.
    [[nodiscard]] bool sees_packets() const;

    /// Completes with the new list when it has changed since the last call (the first call: when it
    /// is not empty). One waiter at a time. Errors: wrong_state once the TAP is gone (its QEMU
    /// ended), interrupted when cancelled or when the watcher is destroyed meanwhile, io_error.
    boost::asio::awaitable<Result<std::vector<ObservedAddress>>> next();

  private:
    struct Impl;
    explicit AddressWatcher(std::shared_ptr<Impl> impl);
    std::shared_ptr<Impl> impl_;  ///< next() holds on to it
};

}  // namespace noxsup::netbridge
