// The host's end of a network card as QEMU is told of it: on the command line, or over QMP while it
// runs.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/launch/qemu_argv.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::launch {

/// "net1", "nic1": its ids in QEMU, of its two ends.
std::string netdev_id(const spec::Network& network);
std::string nic_id(const spec::Network& network);

/// The value of its -netdev option.
std::string netdev_option(const spec::Network& network, const NicFds& fds);

/// The names under which QEMU is given the descriptors of a card by `getfd`.
struct NicFdNames {
    std::vector<std::string> taps;    ///< one a queue
    std::vector<std::string> vhosts;  ///< as many, or none
};
/// @param taps, vhosts how many there are
NicFdNames nic_fd_names(const spec::Network& network, std::size_t taps, std::size_t vhosts);

/// The arguments of `netdev_add` for the same end (qapi/net.json, Netdev).
Json netdev_json(const spec::Network& network, const NicFdNames& names);

/// Which places for cards a running QEMU has given away.
struct TakenPlaces {
    std::set<unsigned> slots;  ///< a card of this number is there
    std::set<unsigned> ports;  ///< something is on this spare port
};
/// Reads the answer of `query-pci` (qapi/pci.json); what has another shape is passed over. Before
/// the guest has numbered its buses nothing on a spare port shows: then device_add refuses.
TakenPlaces taken_places(const Json& pci);

}  // namespace noxsup::launch
