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

/// The seed of a VM as far as its description and this home tell it: who it is, what the catalog
/// knows of its system (one it does not know is taken for one like Debian) and its cards, which ask
/// for their addresses by DHCP.
imaging::SeedSpec seed_of(const Services& services, const spec::VmSpec& spec);

/// Makes the VM's ssh host key. Errors: host_lacks_tool, command_failed.
boost::asio::awaitable<Result<>> make_host_key(Services& services, std::filesystem::path directory,
                                               std::string name);

/// Writes the seed, its ISO image and known_hosts, which pins the host key; gives the seed back.
/// @param seed all but the host key. @pre make_host_key() has made that; it is in the seed alone
/// then. Errors: io_error, no_space, and of imaging::make_seed().
Result<imaging::Seed> write_seed(const std::filesystem::path& directory, const spec::VmSpec& spec,
                                 imaging::SeedSpec seed);

/// Gives the directory the VM's name, and the registry the VM. Nothing is waited for between the
/// look at what it needs of this host and the moment from which on the registry protects it.
/// @param record its spec, and the mark of a disk that was looked at; the rest is made here
/// Errors: of uid_of(); image_not_found when its base was removed meanwhile; io_error, no_space.
Result<std::shared_ptr<vm::Vm>> add_begun(Services& services, BegunDirectory& directory,
                                          state::VmRecord record, Registry::NameClaim& claim);

/// The name under which nox's users find a VM's disk. Errors: io_error.
Result<> link_disk_name(const std::filesystem::path& directory, const std::string& vm);

}  // namespace noxsup::daemon
