// All VMs of a home in memory: loaded, adopted, looked up, and the names of those being made.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "supervisor/daemon/overlay_bases.hpp"
#include "supervisor/state/vm_store.hpp"
#include "supervisor/vm/vm.hpp"

namespace noxsup::daemon {

/// The single source of `list`. A name is in it from the moment its creation begins.
class Registry {
  public:
    explicit Registry(vm::Environment& environment);

    /// Reads the store. Damaged and foreign directories are kept as such; so is the second of two
    /// VMs with one id or UUID. Removes what deletes that were cut off left of runtime directories.
    /// Errors: io_error.
    Result<> load();
    /// Finds the QEMUs of all VMs, side by side. Completes when each was found or given up.
    boost::asio::awaitable<void> adopt_all();

    /// Asks the QEMU of every running VM how it is, side by side; one that hangs takes seconds.
    boost::asio::awaitable<void> refresh_all();

    /// Errors: vm_not_found; vm_damaged and vm_foreign with the reason; wrong_state while it is
    /// being made.
    [[nodiscard]] Result<std::shared_ptr<vm::Vm>> find(std::string_view name) const;
    /// Every VM as JSON, by name; damaged and foreign ones with what little is known.
    [[nodiscard]] Json list() const;
    /// One of them. Errors: vm_not_found.
    [[nodiscard]] Result<Json> status(std::string_view name) const;
    [[nodiscard]] std::vector<std::shared_ptr<vm::Vm>> all() const;
    /// Digests of all bases that overlays stand on, those of damaged and foreign VMs among them.
    /// Errors: image_in_use when a disk does not tell its base, which may be any image then.
    [[nodiscard]] Result<std::set<std::string>> used_digests() const;
    /// Which VM stands on which image, as far as their disks tell: of all VMs, by one look into
    /// vms/.
    [[nodiscard]] OverlayBases overlay_bases() const;
    /// True when any VM has this MAC, also one that is being made (from describe() on).
    [[nodiscard]] bool has_mac(std::string_view mac) const;
    /// The VM that was given this address by hand.
    [[nodiscard]] std::optional<std::string> owner_of_address(std::string_view address) const;

    /// True for the process of a VM of ours.
    [[nodiscard]] bool has_qemu(pid_t pid) const;

    /// Holds a name while its VM is made; gives it back unless the VM was added under it.
    class NameClaim {
      public:
        NameClaim(Registry& registry, std::string name)
            : registry_(&registry), name_(std::move(name)) {}
        NameClaim(NameClaim&& other) noexcept
            : registry_(std::exchange(other.registry_, nullptr)),
              name_(std::move(other.name_)),
              uuid_(std::move(other.uuid_)) {}
        NameClaim& operator=(NameClaim&&) = delete;
        ~NameClaim();
        /// Shown by `list` while the VM is made.
        void describe(const spec::VmSpec& spec);

      private:
        friend class Registry;
        Registry* registry_;  ///< null when the claim is used up
        std::string name_;
        std::string uuid_;  ///< empty before describe()
    };
    /// Errors: already_exists (also for a damaged or foreign VM of that name).
    Result<NameClaim> claim(const std::string& name);

    /// The VM that was made under a claim, which it uses up.
    std::shared_ptr<vm::Vm> add(state::VmRecord record, NameClaim& claim);
    void remove(std::string_view name);
    /// Gives a VM another name. Errors: vm_not_found, vm_damaged, vm_foreign; invalid_name,
    /// already_exists; wrong_state unless it is stopped.
    Result<std::shared_ptr<vm::Vm>> rename(const std::string& name, const std::string& new_name);

  private:
    [[nodiscard]] bool exists(std::string_view name) const;
    void sweep_runtime() const;

    vm::Environment& environment_;
    std::map<std::string, std::shared_ptr<vm::Vm>, std::less<>> vms_;
    std::map<std::string, state::StoredVm, std::less<>> others_;  ///< damaged and foreign
    std::map<std::string, Json, std::less<>> creating_;
};

}  // namespace noxsup::daemon
