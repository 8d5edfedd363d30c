// What making a bridge changes on a host: files and commands, worked out before anything is
// touched.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netbridge/interface_name.hpp"
#include "netbridge/mac_address.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::netbridge::setup {

/// Who configures a network card of the host.
enum class Manager { networkd, ifupdown, network_manager };

/// The manager's own name: "systemd-networkd".
std::string_view manager_name(Manager manager);
/// The inverse. Errors: protocol_error.
Result<Manager> manager_from_name(std::string_view name);

/// A file's content and what else of it is put back.
struct FileImage {
    std::string bytes;
    unsigned mode = 0644;
    unsigned uid = 0;
    unsigned gid = 0;

    bool operator==(const FileImage&) const = default;
};

/// A file that is made (nothing before) or replaced.
struct FileChange {
    std::string path;  ///< absolute
    std::optional<FileImage> before;
    FileImage after;

    bool operator==(const FileChange&) const = default;
};

/// One command of the host's own network manager, or ip(8).
struct Step {
    std::vector<std::string> argv;  ///< argv[0] is looked up in the system's directories alone
    bool may_fail = false;          ///< then its failure is no failure of the whole

    bool operator==(const Step&) const = default;
};

/// The whole change, and the way back.
struct Plan {
    Manager manager = Manager::networkd;
    std::string card;
    std::string bridge;
    std::vector<FileChange> files;
    std::vector<Step> before;       ///< what runs before the files are written,
    std::vector<Step> after;        ///< and behind
    std::vector<Step> undo_before;  ///< what runs before the files are put back,
    std::vector<Step> undo_after;   ///< and behind

    bool operator==(const Plan&) const = default;
};

/// What each manager's plan is made from.
struct BridgeWish {
    std::string card;
    std::string bridge;
    MacAddress mac;  ///< the card's, which the bridge gets for good
};

/// The plan as JSON, file contents in hexadecimal, and back. Errors: protocol_error.
Json plan_to_json(const Plan& plan);
Result<Plan> plan_from_json(const Json& json);

/// The change for people, like `diff -u` with the commands as "$ ifup br0" in their places.
std::string describe(const Plan& plan);

}  // namespace noxsup::netbridge::setup
