// Stopping every VM before the host goes down: in the reverse of the start order, within one
// deadline.
#pragma once

#include <boost/asio.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "supervisor/vm/vm.hpp"

namespace noxsup::daemon {

using VmList = std::vector<std::shared_ptr<vm::Vm>>;

/// VMs of one autostart order in a group, the highest order first.
std::vector<VmList> stop_groups(VmList vms);

/// How long the next of so many groups may take of the time that is left: its equal share, or more
/// where that would be short, since most groups need less than they get.
std::chrono::milliseconds share_of(std::chrono::milliseconds left, std::size_t groups);

/// The power button, quit, TERM and KILL within `whole`: the button for all but the last 16 s of
/// it, or for half of it where it is short.
vm::StopLimits limits_within(std::chrono::milliseconds whole);

/// How one VM was stopped, or why not.
struct GuestStop {
    std::string name;
    Result<vm::StopMethod> outcome;
};

/// Stops all of them with the reason host-shutdown. Completes within `limit`, whatever the guests
/// do. `on_stopped` is called as each one ends. Those that did not run are not in the answer.
boost::asio::awaitable<std::vector<GuestStop>> stop_guests(
    boost::asio::any_io_executor executor, VmList vms, std::chrono::milliseconds limit,
    std::function<void(const GuestStop&)> on_stopped);

}  // namespace noxsup::daemon
