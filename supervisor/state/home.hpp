// Where things are: the layout of a home and of its runtime directory.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string_view>

#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::state {

/// User scope: one user's home, no root needed. System scope: the unit's, shared by group noxsup.
enum class Scope { user, system };

/// Paths of one home; pure but for prepare() and lock().
///
///   config.json  catalog.json  daemon.log  ssh/id_ed25519  images/  vms/NAME/  templates/ID/  nat/
///   run/{daemon.lock,control.sock,ID/}
///
/// The runtime directory of user scope lies inside the home, not in XDG_RUNTIME_DIR: logind removes
/// that one when the user's last login ends, and the sockets of running VMs with it. Long homes are
/// no problem, since sockets are bound and connected through their directory's descriptor.
class Home {
  public:
    Home(std::filesystem::path root, Scope scope);

    [[nodiscard]] const std::filesystem::path& root() const { return root_; }
    [[nodiscard]] Scope scope() const { return scope_; }
    [[nodiscard]] std::filesystem::path config() const;
    /// The user's own entries of the image catalog, beside config.json.
    [[nodiscard]] std::filesystem::path catalog() const;
    [[nodiscard]] std::filesystem::path daemon_log() const { return root_ / "daemon.log"; }
    [[nodiscard]] std::filesystem::path images() const { return root_ / "images"; }
    [[nodiscard]] std::filesystem::path vms() const { return root_ / "vms"; }
    [[nodiscard]] std::filesystem::path vm(std::string_view name) const { return vms() / name; }
    [[nodiscard]] std::filesystem::path ssh() const { return root_ / "ssh"; }
    [[nodiscard]] std::filesystem::path identity() const { return ssh() / "id_ed25519"; }
    [[nodiscard]] std::filesystem::path templates() const { return root_ / "templates"; }
    /// Of the managed NAT network: which VM has which address, leases, dnsmasq's log.
    [[nodiscard]] std::filesystem::path nat() const { return root_ / "nat"; }
    [[nodiscard]] std::filesystem::path runtime() const;
    [[nodiscard]] std::filesystem::path runtime_of(std::string_view vm_id) const {
        return runtime() / vm_id;
    }
    [[nodiscard]] std::filesystem::path control_socket() const {
        return runtime() / "control.sock";
    }
    [[nodiscard]] std::filesystem::path daemon_lock() const { return runtime() / "daemon.lock"; }
    [[nodiscard]] std::filesystem::path kvm_cache() const { return runtime() / "kvm.json"; }
    /// Holds the id of the boot whose autostart is done.
    [[nodiscard]] std::filesystem::path boot_marker() const { return runtime() / "boot"; }

    /// Makes the directories that are missing; changes nothing that is there. Errors: io_error,
    /// no_space.
    [[nodiscard]] Result<> prepare() const;

    /// Takes the one-daemon-a-home lock; it is held as long as the descriptor lives.
    /// Errors: daemon_running.
    [[nodiscard]] Result<UniqueFd> lock() const;

  private:
    std::filesystem::path root_;
    Scope scope_;
};

/// The home of user scope when nothing else is said: $NOX_HOME, else ~/.nox. An absolute path.
/// Errors: invalid_argument when neither is known or the path is not absolute.
Result<std::filesystem::path> default_user_home();

/// The home of the system scope.
inline constexpr std::string_view system_home = "/var/lib/noxsup";

}  // namespace noxsup::state
