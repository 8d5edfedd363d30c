// What making a VM and cloning one share: a directory that is gone again unless it became a VM, and
// the files of its seed.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <filesystem>

#include "imaging/nocloud.hpp"
#include "supervisor/daemon/services.hpp"

namespace noxsup::daemon {

/// Removes a begun directory unless the VM got its name.
class BegunDirectory {
  public:
    explicit BegunDirectory(std::filesystem::path directory) : directory_(std::move(directory)) {}
    BegunDirectory(const BegunDirectory&) = delete;
    BegunDirectory& operator=(const BegunDirectory&) = delete;
    ~BegunDirectory();
    [[nodiscard]] const std::filesystem::path& get() const { return directory_; }
    void keep() { directory_.clear(); }

  private:
    std::filesystem::path directory_;
};

/// Makes the VM's ssh host key, and writes the seed with it, its ISO image and known_hosts, which
/// pins the key. @param seed all but the host key. Errors: host_lacks_tool, io_error, no_space, and
/// of imaging::make_seed().
boost::asio::awaitable<Result<>> write_seed(Services& services, std::filesystem::path directory,
                                            spec::VmSpec spec, imaging::SeedSpec seed);

/// The name under which nox's users find a VM's disk. Errors: io_error.
Result<> link_disk_name(const std::filesystem::path& directory, const std::string& vm);

}  // namespace noxsup::daemon
