// Reaching a guest by ssh: the options that pin it, and finding out when it answers.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "supervisor/base/command.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::vm {

/// Where and as whom to log in, with the pinned host key.
struct SshTarget {
    std::string user;
    std::string host;
    std::uint16_t port = 22;
    std::string host_key_alias;  ///< "noxsup-<uuid>": the pin survives a changed address
    std::filesystem::path identity;
    std::filesystem::path known_hosts;
};

/// Options for ssh and scp that leave the user's configuration, agent and other keys out of it.
/// Without port and host, which the two programs spell differently.
std::vector<std::string> ssh_options(const SshTarget& target);

/// Connects and reads the server's identification ("SSH-2.0-...", RFC 4253 section 4.2).
/// Errors: timeout after `limit`; io_error when refused or when something else answers.
boost::asio::awaitable<Result<>> read_ssh_banner(std::string host, std::uint16_t port,
                                                 std::chrono::steady_clock::duration limit);

/// Logs in for real and runs a command. Errors: guest_failed with ssh's words; timeout.
boost::asio::awaitable<Result<CommandOutput>> run_over_ssh(
    CommandRunner& runner, SshTarget target, std::vector<std::string> words,
    std::chrono::steady_clock::duration limit);

}  // namespace noxsup::vm
