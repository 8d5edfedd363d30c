// What of the managed NAT network is kept on disk: its subnet, which VM has which address, and what
// a next supervisor has to find again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "netbridge/nat/dnsmasq.hpp"
#include "netbridge/nat/subnet.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/launch/process_identity.hpp"

namespace noxsup::daemon {

/// A VM with a card on the NAT bridge.
struct NatGuest {
    std::string name;
    std::string mac;
};

struct NatState {
    std::optional<netbridge::NatSubnet> subnet;
    std::map<std::string, std::uint8_t> hosts;  ///< last byte of the address, by MAC
    std::uint8_t last_given = 1;  ///< the next one is looked for behind it, so that addresses rest
    /// Devices for which this supervisor, or one before it, has switched forwarding on; since the
    /// boot of `boot_id`.
    std::vector<std::string> forwarding;
    std::string boot_id;
    std::optional<launch::ProcessIdentity> dnsmasq;
    int bridge_index = 0;  ///< of the device that dnsmasq's sockets are bound to

    bool operator==(const NatState&) const = default;
};

Json to_json(const NatState& state);
/// Errors: protocol_error naming the member, invalid_argument.
Result<NatState> nat_state_from_json(const Json& json);

/// A missing file is a state without anything. Errors: unreadable_file, protocol_error,
/// invalid_argument.
Result<NatState> load_nat_state(const std::filesystem::path& path);
/// Errors: io_error, no_space.
Result<> save_nat_state(const std::filesystem::path& path, const NatState& state);

/// Keeps an address for each guest and forgets those of guests that are gone. With more guests than
/// addresses the last ones have none. @param leased last bytes that are somebody's now: taken when
/// no other is left
void reserve_addresses(NatState& state, const std::vector<NatGuest>& guests,
                       const std::set<std::uint8_t>& leased);

/// The guests with their addresses, by name; those without one are left out. @pre there is a subnet
std::vector<netbridge::NatHost> nat_hosts(const NatState& state,
                                          const std::vector<NatGuest>& guests);

}  // namespace noxsup::daemon
