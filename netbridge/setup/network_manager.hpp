// NetworkManager: the profile that a card runs by, and the two profiles that put a bridge before
// it.
#pragma once

#include <optional>
#include <string>

#include "netbridge/setup/host.hpp"

namespace noxsup::netbridge::setup {

/// What NetworkManager does with a card.
struct NetworkManagerFacts {
    int state = 0;          ///< NMDeviceState: 10 unmanaged, 30 disconnected, 100 activated
    bool external = false;  ///< somebody else configured it, and NetworkManager only looks on
    std::string uuid;       ///< of the profile it runs by
    std::string file;       ///< that profile's keyfile
    std::string text;

    [[nodiscard]] bool manages() const {
        constexpr int preparing = 40;
        constexpr int activated = 100;
        return !external && state >= preparing && state <= activated;
    }
};

/// Asks nmcli and reads the profile. A host without it has no facts. Errors: wrong_state for a
/// profile that is in no keyfile; unreadable_file.
Result<NetworkManagerFacts> read_network_manager(Host& host, const std::string& card);

/// UUIDs for the two new profiles.
struct ProfileIds {
    std::string bridge;
    std::string port;
};

/// Two new keyfiles alone: the card's new profile goes before its old one, which stays and is what
/// NetworkManager falls back to. Errors: wrong_state for settings that cannot be moved.
Result<Plan> plan_network_manager(const BridgeWish& wish, const NetworkManagerFacts& facts,
                                  const ProfileIds& ids);

}  // namespace noxsup::netbridge::setup
