#include "supervisor/cli/grammar.hpp"

namespace noxsup::cli {

void declare_snapshots(CLI::App& app, Invocation& invocation) {
    const auto [clone_verb, clone] = declare_verb<CloneOptions>(
        app, invocation, "clone", "Make another VM of one: its disk, and an identity of its own");
    clone_verb->add_option("NAME", clone->name, "VM, stopped")->required();
    clone_verb->add_option("NEW", clone->new_name, "Name of the new VM")->required();
    clone_verb->add_flag("--full", clone->full, "With a disk of its own, sharing nothing");
    clone_verb->add_option("--snapshot", clone->snapshot, "As it was at this snapshot");

    auto* snapshot = app.add_subcommand("snapshot", "Points in time of VMs to come back to");
    snapshot->alias("snapshots");
    snapshot->fallthrough();
    snapshot->require_subcommand(1);
    const auto [create_verb, create] = declare_verb<SnapshotCreateOptions>(
        *snapshot, invocation, "create", "Take one, also of a VM that runs");
    create_verb->add_option("NAME", create->name, "VM")->required();
    create_verb->add_option("SNAP", create->snapshot, "Its name; snap1, snap2, ... if not given");
    create_verb->add_flag("--ram", create->ram, "With the guest's memory: a start goes on from it");
    create_verb->add_option("--comment", create->comment, "A line to remember it by");

    const auto [list_verb, list] =
        declare_verb<SnapshotListOptions>(*snapshot, invocation, "ls", "List them");
    list_verb->alias("list");
    list_verb->add_option("NAME", list->names, "VMs; all if not given");

    const auto [restore_verb, restore] = declare_verb<SnapshotRestoreOptions>(
        *snapshot, invocation, "restore", "Put a VM back to what it was then");
    restore_verb->add_option("NAME", restore->name, "VM")->required();
    restore_verb->add_option("SNAP", restore->snapshot, "Snapshot")->required();
    restore_verb->add_flag("--force,-f", restore->force,
                           "Stop a VM that runs first, without asking its guest");

    const auto [rm_verb, rm] =
        declare_verb<SnapshotRemoveOptions>(*snapshot, invocation, "rm", "Remove some");
    rm_verb->alias("remove");
    rm_verb->add_option("NAME", rm->name, "VM")->required();
    rm_verb->add_option("SNAP", rm->snapshots, "Snapshots")->required();
}

}  // namespace noxsup::cli
