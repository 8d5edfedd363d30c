// ifupdown: the stanzas of a card in /etc/network/interfaces, and the same files with a bridge in
// its place.
#pragma once

#include <string>
#include <vector>

#include "netbridge/setup/host.hpp"

namespace noxsup::netbridge::setup {

/// One of the files of ifupdown's configuration.
struct InterfacesFile {
    std::string path;
    FileImage image;
};

/// What ifupdown does with a card.
struct IfupdownFacts {
    bool up = false;                    ///< ifup(8) has brought it up under its own name
    std::vector<InterfacesFile> files;  ///< /etc/network/interfaces and what it sources

    [[nodiscard]] bool manages() const { return up; }
};

/// Asks ifquery and reads the files. A host without it has no facts. Errors: unreadable_file;
/// wrong_state for a `source` that noxsup does not follow.
Result<IfupdownFacts> read_ifupdown(Host& host, const std::string& card);

/// The stanzas of the card are renamed to the bridge's, with commands that make it (ip(8) alone, no
/// bridge-utils), and the card itself gets one without addresses. Errors: wrong_state for forms
/// that cannot be moved.
Result<Plan> plan_ifupdown(const BridgeWish& wish, const IfupdownFacts& facts);

}  // namespace noxsup::netbridge::setup
