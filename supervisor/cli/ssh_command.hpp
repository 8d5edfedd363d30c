// The ssh client's options for a VM, so that nothing of the user's configuration gets in the way.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::cli {

/// How a VM's ssh is reached: what vm.ssh answers.
struct SshTarget {
    std::string name;  ///< of the VM; the host's alias on the command line
    std::string user;
    std::string host;
    int port = 22;
    std::string host_key_alias;
    std::string identity;     ///< the home's private key; empty when we may not read it
    std::string known_hosts;  ///< the file with the VM's pinned host key; empty as `identity`
    std::string host_key;     ///< that key, "ssh-ed25519 BASE64"; used where the file is not
};

/// Reads the answer of vm.ssh. Errors: protocol_error.
Result<SshTarget> ssh_target_from_json(const std::string& name, const Json& json);

/// ssh_config(5) keywords and their values, quoted as that file wants them.
using SshSettings = std::vector<std::pair<std::string, std::string>>;

/// What leads to the VM and nowhere else: its address, key and pinned host key.
SshSettings ssh_settings(const SshTarget& target);

/// A `Host NAME` block of ssh_config(5).
std::string ssh_config_block(const SshTarget& target);

/// argv of ssh. @param batch no questions: there is no terminal to answer at
/// @param tty a terminal for the remote command
std::vector<std::string> ssh_argv(const SshTarget& target, bool batch, bool tty);

}  // namespace noxsup::cli
