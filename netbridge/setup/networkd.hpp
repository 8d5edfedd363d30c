// systemd-networkd: who configures a card by which file, and the files that put a bridge before it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netbridge/setup/host.hpp"

namespace noxsup::netbridge::setup {

/// What networkd does with a card.
struct NetworkdFacts {
    std::string state;  ///< "configured", "unmanaged", ...; empty where it does not run
    std::string file;   ///< the .network file that it took
    std::vector<std::string> texts;  ///< that file's text, then those of its drop-ins in order
    /// How the DHCP server knows the card: the IAID of its client identifier (RFC 4361).
    std::optional<std::uint32_t> dhcp_iaid;

    [[nodiscard]] bool manages() const { return state == "configured" || state == "configuring"; }
};

/// Asks networkctl and reads the files it names. A host without it has no facts. Errors:
/// unreadable_file.
Result<NetworkdFacts> read_networkd(Host& host, const std::string& card, int card_index);

/// The IAID in a lease of /run/systemd/netif/leases, if its client identifier has one.
std::optional<std::uint32_t> iaid_of_lease(std::string_view lease);

/// New files alone, which sort before the card's own: a .netdev for the bridge, a .network for it
/// with the card's settings, one that makes the card its port. Errors: wrong_state for settings
/// that cannot be moved.
Result<Plan> plan_networkd(const BridgeWish& wish, const NetworkdFacts& facts);

}  // namespace noxsup::netbridge::setup
