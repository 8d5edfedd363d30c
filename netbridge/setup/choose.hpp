// Which card becomes a bridge's port and who configures it: facts of the host, and the refusals.
#pragma once

#include <string>
#include <vector>

#include "netbridge/bridge_health.hpp"
#include "netbridge/kernel_network.hpp"
#include "netbridge/setup/ifupdown.hpp"
#include "netbridge/setup/network_manager.hpp"
#include "netbridge/setup/networkd.hpp"

namespace noxsup::netbridge::setup {

/// A network device as the choice sees it.
struct Candidate {
    Link link;
    bool wireless = false;
    std::vector<std::string> uppers;  ///< VLANs, macvlans, ... that lie on it

    /// A wired card, or what a container has for one.
    [[nodiscard]] bool is_card() const;
};

/// Every device of this network namespace. Errors: io_error.
Result<std::vector<Candidate>> read_candidates(KernelNetwork& kernel,
                                               const KernelViews& views = {});

/// The card that is meant: the named one, or with an empty name the only wired one that is up.
/// Errors, each with the fix: invalid_argument (no such device, no name where there are several),
/// wrong_state (a port, a bridge, Wi-Fi, a bond, VLANs on it, ...), already_exists (the bridge).
Result<Link> choose_card(const std::vector<Candidate>& candidates, const std::string& name,
                         const std::string& bridge);

/// What each manager says of a card.
struct ManagerFacts {
    NetworkdFacts networkd;
    IfupdownFacts ifupdown;
    NetworkManagerFacts network_manager;
};

/// Asks all three. Errors: as theirs.
Result<ManagerFacts> read_managers(Host& host, const std::string& card, int card_index);

/// The names of those who configure the device.
std::vector<Manager> managers_of(const ManagerFacts& facts);

/// The plan of the one manager that configures the card. Errors: wrong_state when it is none or
/// more than one, or as the manager's own plan.
Result<Plan> make_plan(const BridgeWish& wish, const ManagerFacts& facts, const ProfileIds& ids);

/// An interface's name fit for the managers' files and commands: letters, digits, '.', '_', '-'.
/// Errors: invalid_argument.
Result<InterfaceName> plain_name(std::string_view text);

/// All of it for this host: reads the facts, chooses, plans, and sees that no file of the plan is
/// there already. Changes nothing. An empty `card` is chosen. Errors: as above.
Result<Plan> plan_bridge(Host& host, KernelNetwork& kernel, const std::string& card,
                         const std::string& bridge);

}  // namespace noxsup::netbridge::setup
