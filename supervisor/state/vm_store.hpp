// The VMs of a home on disk: listed, saved crash-only, made and removed by rename.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/state/home.hpp"
#include "supervisor/state/vm_record.hpp"

namespace noxsup::state {

/// One directory of vms/ as found.
struct StoredVm {
    std::string name;
    RecordKind kind = RecordKind::damaged;
    std::optional<VmRecord> record;  ///< with kind ours
    std::string problem;             ///< why it is damaged, or which generation had to serve
};

/// Reads and writes vms/. Each VM has one file, meta.json, and the one before it, meta.json.prev; a
/// bad file costs that VM its newest change at most, and never another VM anything.
class VmStore {
  public:
    explicit VmStore(const Home& home) : home_(home) {}

    /// Every VM, by name. Directories that cannot be read are damaged, those of nox foreign.
    /// Errors: io_error when vms/ itself cannot be read.
    [[nodiscard]] Result<std::vector<StoredVm>> load_all() const;

    /// One VM. Errors: vm_not_found.
    [[nodiscard]] Result<StoredVm> load(std::string_view name) const;

    /// Replaces meta.json of an existing VM: new file, fsync, old one kept as .prev, rename, fsync
    /// of the directory. On an error the old state stands. Errors: io_error, no_space.
    [[nodiscard]] Result<> save(const VmRecord& record) const;

    /// Gives an existing VM another name: `record` is its record with that name. Until the
    /// directory has it the VM is found under the old one, also after a crash in between. Errors:
    /// already_exists, io_error, no_space; the VM keeps its name then.
    [[nodiscard]] Result<> rename(std::string_view old_name, const VmRecord& record) const;

    /// A fresh directory outside every name, where a VM is made: `vms/.new-ID`, mode 0700.
    [[nodiscard]] Result<std::filesystem::path> begin_create(std::string_view id) const;

    /// Gives it its name; from here on the VM exists. The directory holds all its files but
    /// meta.json. Errors: already_exists, io_error; the directory has its old name then.
    [[nodiscard]] Result<> finish_create(const std::filesystem::path& directory,
                                         const VmRecord& record) const;

    /// Removes a VM with all its files: out of sight first (rename), then file by file. On an error
    /// the VM is there as before.
    [[nodiscard]] Result<> remove(std::string_view name) const;

    /// Removes what a crash left of begun creates, deletes and saves: all of it that can be
    /// removed, then tells the first error. @pre no create, remove or save is under way
    [[nodiscard]] Result<> sweep() const;

  private:
    const Home& home_;
};

/// Removes a directory tree without following links. Errors: io_error naming the first thing that
/// stayed.
Result<> remove_tree(const std::filesystem::path& path);

}  // namespace noxsup::state
