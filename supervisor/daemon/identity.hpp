// The home's own ssh key and the host keys of its VMs, made by ssh-keygen.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <string>

#include "supervisor/base/command.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::daemon {

/// A new ed25519 key pair without a passphrase at `file` and `file`.pub.
/// Errors: host_lacks_tool with the fix, command_failed.
boost::asio::awaitable<Result<>> make_ssh_key(CommandRunner& runner, std::filesystem::path file,
                                              std::string comment);

/// The home's own ssh key, made when it is missing. Returns the public part's line. Calls may run
/// side by side: all get the same key. A crash at any point leaves a key or none: the private part
/// decides, and a public part that is missing is derived from it. Errors: as above, io_error.
boost::asio::awaitable<Result<std::string>> ensure_identity(CommandRunner& runner,
                                                            std::filesystem::path identity);

}  // namespace noxsup::daemon
