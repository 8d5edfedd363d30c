// The bridges of this host as JSON, as a table, and one as a line.
#pragma once

#include "netbridge/setup/choose.hpp"
#include "netbridge/setup/journal.hpp"
#include "supervisor/cli/output.hpp"

namespace noxsup::cli {

/// What `network ls` knows of one bridge.
struct BridgeView {
    std::string name;
    std::string state;  ///< up, down, or missing: set up by noxsup, and not there
    std::string mac;
    bool fixed_mac = false;
    std::vector<std::string> addresses;
    std::vector<std::string> ports;
    std::string problem;  ///< why VMs cannot use it, or empty
    std::vector<netbridge::setup::Manager> managers;
    const netbridge::setup::JournalEntry* setup =
        nullptr;  ///< borrowed; null for bridges of others
};

/// {name, state, mac, fixed_mac, addresses, ports, usable, problem, managed_by, setup: {state,
/// card, manager, created_at, seconds_left} or null}
Json bridge_json(const BridgeView& view, netbridge::setup::BootTime now);

/// The document of `network ls`.
Document bridge_document(const Json& bridges);

}  // namespace noxsup::cli
