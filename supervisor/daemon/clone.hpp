// Making a VM of another one's disk: linked to a frozen copy of it, or with a disk of its own.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <optional>
#include <string>

#include "imaging/flatten.hpp"
#include "supervisor/daemon/services.hpp"

namespace noxsup::daemon {

struct CloneRequest {
    std::string name;      ///< of the VM that is cloned
    std::string new_name;  ///< of the clone
    std::string snapshot;  ///< the state that is meant; empty: the present one
    bool full = false;
};

/// Carries out one clone, once. Whatever fails leaves nothing behind but, where it was frozen, an
/// image without a name, which `image prune` takes. The VM that is cloned stays as it is.
class Cloning {
  public:
    Cloning(Services& services, control::CallContext& call, CloneRequest request);
    Cloning(const Cloning&) = delete;
    Cloning& operator=(const Cloning&) = delete;

    /// Errors: vm_not_found; wrong_state unless the VM is stopped; the one for an unknown snapshot;
    /// already_exists, invalid_name; no_space, io_error, command_failed, host_lacks_*.
    boost::asio::awaitable<Result<std::shared_ptr<vm::Vm>>> run();

  private:
    Result<> find_source();
    Result<> make_spec();
    Result<> make_networks();
    boost::asio::awaitable<Result<>> make_disk(std::filesystem::path directory);
    boost::asio::awaitable<Result<imaging::Image>> freeze();
    [[nodiscard]] Result<std::optional<imaging::Image>> frozen_before() const;
    [[nodiscard]] Result<std::string> state_of_disk() const;
    [[nodiscard]] imaging::FlattenSpec source_disk() const;
    Result<> copy_files(const std::filesystem::path& directory) const;
    boost::asio::awaitable<Result<>> make_seed(std::filesystem::path directory);

    Services& services_;
    control::CallContext& call_;
    CloneRequest request_;
    std::shared_ptr<vm::Vm> source_;
    std::optional<state::Snapshot> snapshot_;
    spec::VmSpec spec_;
};

/// vm.clone.
void register_clone_api(control::Server& server, Services& services);

}  // namespace noxsup::daemon
