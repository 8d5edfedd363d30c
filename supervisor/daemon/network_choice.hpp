// From what a user wishes of a network card to the card: looked up on this host, and nothing made.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "supervisor/daemon/network_wish.hpp"
#include "supervisor/daemon/services.hpp"

namespace noxsup::daemon {

/// One more card for a VM as the wish has it, in the lowest free slot, with a MAC address and,
/// where it has one, the name of its device. Errors: mac_taken, port_taken; host_lacks_bridge and
/// other host_lacks_* where it cannot be; invalid_argument when the VM has as many cards as it can
/// have.
Result<spec::Network> choose_network(const Services& services, const spec::VmSpec& vm,
                                     const NetworkWish& wish);

/// What the user of a macvtap is told.
std::string macvtap_note(const spec::Network& network);

/// Whether a VM can have an address where the card puts it: of the bridge's subnets, and nobody's
/// yet. Errors: address_taken, invalid_argument.
boost::asio::awaitable<Result<>> check_fixed_address(const Services& services,
                                                     imaging::StaticAddress fixed,
                                                     spec::Network network);

}  // namespace noxsup::daemon
