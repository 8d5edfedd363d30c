// A VM's snapshots at work: where their files are, and the steps; for the files of class Vm alone.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "imaging/qemu_img.hpp"
#include "supervisor/vm/vm.hpp"

namespace noxsup::vm {

/// One piece of work on the snapshots of a VM, which must outlive it.
///
/// In what order things are done, whatever is cut off where:
/// - create: the record says that it has begun; disk, variables, memory; the record has the
///   snapshot. Found begun, all of it is taken back, and the guest goes on where it stood for it.
/// - restore: the variables beside their place; the record says that it has begun; disk, variables,
///   memory; the record is the snapshot's. Found begun, it is done again from the disk on; nothing
///   starts before.
/// - remove: the record has the snapshot no more and says so; disk, files; the record says no more.
///   Found begun, it is done again.
struct Vm::Snapshots {
    explicit Snapshots(Vm& of) : vm(of), qemu_img(of.environment_.runner) {}

    /// Waits until a snapshot can be worked on, and sees to it that nothing else begins until
    /// end(). Gives the VM's QEMU, or null where it has none.
    boost::asio::awaitable<Result<std::shared_ptr<Running>>> begin(const char* what);
    void end() const;

    boost::asio::awaitable<Result<SnapshotOutcome>> create(SnapshotRequest request,
                                                           SuspendWatch watch,
                                                           std::shared_ptr<Running> running);
    boost::asio::awaitable<Result<SnapshotOutcome>> restore(state::Snapshot snapshot);
    boost::asio::awaitable<Result<>> remove(state::Snapshot snapshot);
    /// Carries out, or takes back, what the record says has begun.
    boost::asio::awaitable<Result<>> finish();

    // vm_snapshot.cpp
    [[nodiscard]] Result<state::Snapshot> sketch(const SnapshotRequest& request) const;
    boost::asio::awaitable<Result<>> take(state::Snapshot& snapshot, SuspendWatch watch, bool ram,
                                          std::shared_ptr<Running> running,
                                          SnapshotOutcome& outcome);
    boost::asio::awaitable<Result<>> take_stopped(state::Snapshot& snapshot);
    boost::asio::awaitable<Result<>> take_standing(state::Snapshot& snapshot, SuspendWatch watch,
                                                   bool ram, std::shared_ptr<Running> running);
    boost::asio::awaitable<Result<>> stand_still(std::shared_ptr<Running> running, bool ran);
    boost::asio::awaitable<bool> freeze(SnapshotOutcome& outcome);
    boost::asio::awaitable<void> thaw(SnapshotOutcome* outcome);
    boost::asio::awaitable<Result<>> keep_vars(state::Snapshot& snapshot);
    void measure(state::Snapshot& snapshot) const;

    // vm_snapshot_restore.cpp
    boost::asio::awaitable<Result<bool>> ram_fits(state::Snapshot snapshot,
                                                  SnapshotOutcome& outcome);
    boost::asio::awaitable<Result<>> copy_vars(std::filesystem::path from,
                                               std::filesystem::path to);
    boost::asio::awaitable<Result<>> put_back(state::Snapshot snapshot, bool again);
    Result<> put_back_files(const state::Snapshot& snapshot, bool ram) const;
    boost::asio::awaitable<Result<>> take_back(state::SnapshotWork work, bool again);
    boost::asio::awaitable<Result<>> go_on(std::shared_ptr<Running> running,
                                           state::SnapshotWork work);
    Result<> save(const std::function<void(state::VmRecord&)>& edit) const;

    [[nodiscard]] std::filesystem::path directory() const { return vm.directory() / "snapshots"; }
    [[nodiscard]] std::filesystem::path ram_of(const std::string& tag) const {
        return directory() / (tag + ".ram");
    }
    [[nodiscard]] std::filesystem::path vars_of(const std::string& tag) const {
        return directory() / (tag + ".efivars");
    }
    /// Where the variables wait until the disk is back.
    [[nodiscard]] std::filesystem::path coming_vars() const { return directory() / "efivars.tmp"; }

    Vm& vm;
    imaging::QemuImg qemu_img;
};

}  // namespace noxsup::vm
