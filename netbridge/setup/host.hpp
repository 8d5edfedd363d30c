// Host: the one narrow interface through which a set-up reads and changes the host, which tests
// replace.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "netbridge/setup/plan.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::netbridge::setup {

/// Files and commands of the host. Every call blocks; commands have a deadline of their own.
class Host {
  public:
    Host() = default;
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;
    virtual ~Host() = default;

    /// Nothing where there is no such file. Errors: unreadable_file; a symbolic link is one.
    virtual Result<std::optional<FileImage>> read(const std::string& path) = 0;
    /// The names in a directory, sorted; none where there is no such directory.
    virtual std::vector<std::string> list(const std::string& directory) = 0;
    /// Replaces or makes the file in one step, with its mode and owner; makes missing directories.
    virtual Result<> write(const std::string& path, const FileImage& image) = 0;
    /// A file that is not there is no error.
    virtual Result<> remove(const std::string& path) = 0;
    /// Runs a program and returns what it wrote. Errors: host_lacks_tool, command_failed, timeout.
    virtual Result<std::string> run(const std::vector<std::string>& argv) = 0;
    /// Waits until the bridge is up with the card as its port. Errors: timeout.
    virtual Result<> wait_for_port(const std::string& card, const std::string& bridge) = 0;
};

/// This machine. Programs are looked up in /usr/sbin, /usr/bin, /sbin and /bin alone and get a
/// fixed environment.
std::unique_ptr<Host> this_host();

}  // namespace noxsup::netbridge::setup
