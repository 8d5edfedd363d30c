#include "supervisor/cli/grammar.hpp"

#include <map>
#include <set>

#include "supervisor/base/error.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::cli {
namespace {

const std::vector<std::string> arches = {"arm64", "amd64", "aarch64", "x86_64"};
const std::set<std::string> autostart_modes = {"on", "off", "last"};
const std::vector<std::string> goals = {"running", "ip", "ssh", "cloud-init"};

void check_names(const CLI::App& verb, const Names& vms) {
    if (vms.all && !vms.names.empty()) {
        throw CLI::ValidationError("give names or --all, not both");
    }
    if (!vms.all && vms.names.empty()) {
        throw CLI::ValidationError(verb.get_name() + " needs the name of a VM, or --all");
    }
}

void add_names(CLI::App& verb, Names& vms) {
    verb.add_option("NAME", vms.names, "VMs");
    verb.add_flag("--all,-a", vms.all, "Every VM");
    // Not the final callback: that one stores the options, and a verb has but one.
    verb.parse_complete_callback([&verb, &vms] { check_names(verb, vms); });
}

void add_resources(CLI::App& verb, CreateOptions& create) {
    verb.add_option("--os", create.os, "Operating system: debian, ubuntu:22.04, alpine, ...");
    verb.add_option("--image", create.image, "Image: FILE, URL or the NAME of one in the cache");
    verb.add_option("--arch", create.arch, "Architecture; the host's if not given")
        ->check(CLI::IsMember(arches));
    verb.add_option("--cpus", create.cpus, "CPUs: 2, or a share of the host: 50%, 0.5");
    verb.add_option("--ram,--memory", create.ram, "RAM: 512M, 1.5G, 25%; a bare number is MiB");
    verb.add_option("--disk", create.disk, "Disk: 5G, 1T, 25%; a bare number is GiB");
    verb.add_option(
            "--network", create.networks,
            "user, nat, bridge, bridge=NAME, or a network card for a macvtap on it; again for "
            "a further card")
        ->allow_extra_args(false);
    verb.add_option("--publish", create.publish, "Forward a port: [ADDR:]PORT:PORT[/udp]")
        ->allow_extra_args(false);
    verb.add_option("--ip", create.ip, "Fixed address with prefix: 192.168.1.5/24");
    verb.add_option("--gateway", create.gateway, "Gateway of the fixed address");
    verb.add_option("--dns", create.dns, "DNS server of the fixed address")
        ->allow_extra_args(false);
    verb.add_option("--mac", create.mac, "MAC address");
    verb.add_option("--rate", create.rate,
                    "Limit of the network card, each way: 100M (bits a second)");
    verb.add_option("--vlan", create.vlan, "VLAN of the network card on its bridge: 1 to 4094");
    verb.add_flag("--isolated", create.isolated, "No traffic with other VMs of this host");
    verb.add_flag("--allow-spoofing", create.allow_spoofing,
                  "Let it send from any MAC and IP address: for routers and nested VMs");
}

void add_seed(CLI::App& verb, CreateOptions& create) {
    verb.add_option("--user", create.user, "User made in the guest (nox)");
    verb.add_option("--ssh-key", create.ssh_keys, "Public key FILE, beside ~/.ssh/id_*.pub")
        ->allow_extra_args(false);
    verb.add_option("--cloud-init", create.cloud_init, "cloud-init document: FILE, URL or -")
        ->allow_extra_args(false);
    verb.add_flag("--password", create.password, "Make a password and show it once");
    verb.add_flag("--stock", create.stock, "Leave the first boot as the vendor made it");
}

void declare_create(CLI::App& app, Invocation& invocation) {
    const auto [verb, create] =
        declare_verb<CreateOptions>(app, invocation, "create", "Make and start a VM");
    verb->alias("launch");
    verb->add_option("NAME", create->name, "Name of the VM")->required();
    add_resources(*verb, *create);
    add_seed(*verb, *create);
    verb->add_option("--accel", create->accel, "auto, kvm or tcg")
        ->check(CLI::IsMember({"auto", "kvm", "tcg"}));
    verb->add_option("--restart", create->restart, "When QEMU or the guest ends: start it again?")
        ->check(CLI::IsMember({"no", "on-failure", "always"}));
    verb->add_option("--boot", create->boot, "auto, firmware or kernel")
        ->check(CLI::IsMember({"auto", "firmware", "kernel"}));
    verb->add_flag("--no-autostart", create->no_autostart, "Do not start it with the host");
    verb->add_flag("--no-start", create->no_start, "Only make it");
    verb->add_flag("--cold", create->cold, "Boot it also where a template fits");
    verb->add_option("--wait", create->wait, "Return when it has got so far (ssh)")
        ->check(CLI::IsMember(goals));
    verb->add_option("--timeout", create->timeout, "How long to wait: 90s, 5m");
    verb->add_flag("--yes,-y", create->yes, "Answer yes to questions");
}

/// The last word is the mode, unless it is the only one: then it can only be a VM's name.
void take_mode(const CLI::App& verb, AutostartOptions& autostart) {
    auto& words = autostart.vms.names;
    const auto enough = autostart.vms.all ? std::size_t{1} : std::size_t{2};
    if (words.size() >= enough && autostart_modes.contains(words.back())) {
        autostart.mode = words.back();
        words.pop_back();
    }
    if (!autostart.mode && !autostart.order && !autostart.delay) {
        throw CLI::ValidationError(
            verb.get_name() + " needs on, off or last behind the names, or --order or --delay");
    }
}

void declare_autostart(CLI::App& app, Invocation& invocation) {
    const auto declared = declare_verb<AutostartOptions>(
        app, invocation, "autostart", "Whether VMs start with the host: NAME... on|off|last");
    auto* verb = declared.app;
    auto* autostart = declared.options.get();
    verb->add_option("NAME", autostart->vms.names, "VMs, then on, off or last");
    verb->add_flag("--all,-a", autostart->vms.all, "Every VM");
    verb->add_option("--order", autostart->order, "Lower ones start first and stop last (100)")
        ->check(CLI::Range(0U, spec::max_autostart_order));
    verb->add_option("--delay", autostart->delay, "Pause after its start, before the next: 30s");
    verb->parse_complete_callback([verb, autostart] {
        take_mode(*verb, *autostart);
        check_names(*verb, autostart->vms);
    });
}

void declare_start_stop(CLI::App& app, Invocation& invocation) {
    const auto [start_verb, start] =
        declare_verb<StartOptions>(app, invocation, "start", "Start VMs");
    add_names(*start_verb, start->vms);
    auto* goal =
        start_verb->add_option("--wait", start->wait, "Return when it has got so far (ssh)")
            ->check(CLI::IsMember(goals));
    start_verb->add_flag("--paused", start->paused, "Let the guest not run yet: resume does")
        ->excludes(goal);
    start_verb->add_flag("--cold", start->cold, "Boot a suspended VM: its memory is given up");
    start_verb->add_option("--timeout", start->timeout, "How long to wait: 90s, 5m");

    const auto [stop_verb, stop] = declare_verb<StopOptions>(
        app, invocation, "stop", "Stop VMs: power button, then quit, TERM, KILL");
    add_names(*stop_verb, stop->vms);
    stop_verb->add_flag("--force,-f", stop->force, "Skip the power button");
    stop_verb->add_option("--timeout", stop->timeout, "Time for the power button (120s)");

    const auto [pause_verb, pause] =
        declare_verb<PauseOptions>(app, invocation, "pause", "Let guests stand still, in memory");
    add_names(*pause_verb, pause->vms);
    const auto [resume_verb, resume] =
        declare_verb<ResumeOptions>(app, invocation, "resume", "Let paused guests go on");
    add_names(*resume_verb, resume->vms);
    const auto [suspend_verb, suspend] = declare_verb<SuspendOptions>(
        app, invocation, "suspend", "Save guests' memory to the disk and end QEMU; start goes on");
    add_names(*suspend_verb, suspend->vms);

    const auto [restart_verb, restart] =
        declare_verb<RestartOptions>(app, invocation, "restart", "Stop and start VMs: a new QEMU");
    add_names(*restart_verb, restart->vms);
    restart_verb->add_flag("--force,-f", restart->force, "Skip the power button");
    restart_verb->add_option("--wait", restart->wait, "Return when it has got so far (ssh)")
        ->check(CLI::IsMember(goals));
    restart_verb->add_option("--timeout", restart->timeout, "Time for each half: 90s, 5m");

    const auto [reset_verb, reset] =
        declare_verb<ResetOptions>(app, invocation, "reset", "Press the reset button");
    add_names(*reset_verb, reset->vms);
}

void declare_settings(CLI::App& app, Invocation& invocation) {
    const auto [rename_verb, rename] =
        declare_verb<RenameOptions>(app, invocation, "rename", "Give a stopped VM another name");
    rename_verb->add_option("NAME", rename->name, "VM")->required();
    rename_verb->add_option("NEW", rename->new_name, "Its new name")->required();

    const auto [set_verb, set] = declare_verb<SetOptions>(
        app, invocation, "set", "Change a VM: cpus=2 ram=1G restart=always");
    set_verb->add_option("NAME", set->name, "VM")->required();
    // Newer CLI11 takes no "=" in a name.
    set_verb->add_option("SETTING", set->changes, "KEY=VALUE of cpus, ram, restart")->required();
}

}  // namespace

void declare_lifecycle(CLI::App& app, Invocation& invocation) {
    declare_create(app, invocation);
    declare_start_stop(app, invocation);
    declare_settings(app, invocation);
    const auto [delete_verb, remove] =
        declare_verb<DeleteOptions>(app, invocation, "delete", "Stop and remove VMs");
    delete_verb->alias("rm");
    add_names(*delete_verb, remove->vms);
    delete_verb->add_flag("--yes,-y", remove->yes, "Do not ask");

    const auto [list_verb, list] = declare_verb<ListOptions>(app, invocation, "list", "List VMs");
    list_verb->alias("ls");

    const auto [status_verb, status] = declare_verb<StatusOptions>(
        app, invocation, "status", "Everything known of VMs, with the reason for the state");
    status_verb->alias("info");
    add_names(*status_verb, status->vms);

    const auto [wait_verb, wait] =
        declare_verb<WaitOptions>(app, invocation, "wait", "Wait until a VM has got so far");
    wait_verb->add_option("NAME", wait->name, "VM")->required();
    wait_verb->add_option("--for", wait->goal, "running, ip, ssh, cloud-init or stopped")
        ->required()
        ->check(CLI::IsMember({"running", "ip", "ssh", "cloud-init", "stopped"}));
    wait_verb->add_option("--timeout", wait->timeout, "How long at most: 90s, 5m");
    declare_autostart(app, invocation);
}

void declare_access(CLI::App& app, Invocation& invocation) {
    const auto [ssh_verb, ssh] = declare_verb<SshOptions>(
        app, invocation, "ssh", "ssh into a VM; NAME [-- CMD...], words joined as ssh does");
    ssh_verb->alias("shell");
    ssh_verb->add_option("NAME", ssh->name, "VM")->required();
    ssh_verb->add_option("--user,-l", ssh->user, "Another user than the VM's own");

    const auto [exec_verb, exec] = declare_verb<ExecOptions>(
        app, invocation, "exec", "Run a command in a VM; NAME -- CMD..., words kept apart");
    exec_verb->add_option("NAME", exec->name, "VM")->required();
    exec_verb->add_option("--user,-l", exec->user, "Another user than the VM's own");

    const auto [config_verb, config] = declare_verb<SshConfigOptions>(
        app, invocation, "ssh-config", "Print a snippet for ~/.ssh/config");
    config_verb->add_option("NAME", config->names, "VMs; every running one if not given");

    const auto [cp_verb, cp] = declare_verb<CpOptions>(
        app, invocation, "cp", "Copy files to or from a VM: SRC... DST with NAME:path");
    cp_verb->alias("transfer");
    cp_verb->add_option("PATH", cp->paths, "Sources, then the target")->required()->expected(2, -1);
    cp_verb->add_flag("-r,--recursive", cp->recursive, "Whole directories");
    cp_verb->add_flag("-p,--preserve", cp->preserve, "Keep times and modes");

    const auto [console_verb, console] = declare_verb<ConsoleOptions>(
        app, invocation, "console", "The serial console; Ctrl-] leaves");
    console_verb->add_option("NAME", console->name, "VM")->required();

    const auto [logs_verb, logs] =
        declare_verb<LogsOptions>(app, invocation, "logs", "Show a VM's logs");
    logs_verb->add_option("NAME", logs->name, "VM")->required();
    logs_verb->add_flag("--follow,-f", logs->follow, "Go on as it grows");
    logs_verb->add_option("--lines,-n", logs->lines, "Only the last so many lines");
    auto* which = logs_verb->add_option_group("log");
    const auto choose = [which, options = logs](const char* name, const char* description) {
        const std::string log = std::string(name).substr(2);
        which->add_flag_callback(
            name, [options, log] { options->log = log; }, description);
    };
    choose("--console", "The serial console (default)");
    choose("--qemu", "What QEMU said");
    choose("--cloud-init", "cloud-init's output, read in the guest");
    which->require_option(0, 1);

    const auto [ip_verb, ip] =
        declare_verb<IpOptions>(app, invocation, "ip", "Print the address alone");
    ip_verb->add_option("NAME", ip->name, "VM")->required();
}

void declare_images(CLI::App& app, Invocation& invocation) {
    auto* image = app.add_subcommand("image", "Base images");
    image->alias("images");
    image->fallthrough();
    image->require_subcommand(1);
    const auto [list_verb, list] =
        declare_verb<ImageListOptions>(*image, invocation, "ls", "List the images in the cache");
    list_verb->alias("list");
    declare_verb<ImageAvailableOptions>(*image, invocation, "available",
                                        "List what can be had by name, and what is here");

    const auto [pull_verb, pull] =
        declare_verb<ImagePullOptions>(*image, invocation, "pull", "Get the vendor's newest image");
    pull_verb->add_option("OS", pull->os, "debian, ubuntu:22.04, alpine, ...; several at once")
        ->required();
    pull_verb->add_option("--arch", pull->arch, "Architecture")->check(CLI::IsMember(arches));

    const auto [build_verb, build] = declare_verb<ImageBuildOptions>(
        *image, invocation, "build", "Build an image from Debian packages");
    build_verb->add_option("OS", build->os, "debian, debian:12, ...")->required();
    build_verb->add_option("--arch", build->arch, "Architecture")->check(CLI::IsMember(arches));
    build_verb->add_option("--mirror", build->mirror, "Package mirror");

    const auto [import_verb, import] =
        declare_verb<ImageImportOptions>(*image, invocation, "import", "Take an image file in");
    import_verb->add_option("FILE", import->file, "Image file")->required();
    import_verb->add_option("--name", import->name, "Its name; the file's if not given");
    import_verb->add_option("--os", import->os, "What it is: debian:12");
    import_verb->add_option("--arch", import->arch, "Architecture")->check(CLI::IsMember(arches));
    import_verb->add_flag("--raw", import->raw, "It is a raw disk without a partition table");

    const auto [rm_verb, rm] =
        declare_verb<ImageRemoveOptions>(*image, invocation, "rm", "Remove images");
    rm_verb->alias("remove");
    rm_verb->add_option("NAME", rm->names, "Images")->required();

    const auto [verify_verb, verify] = declare_verb<ImageVerifyOptions>(
        *image, invocation, "verify", "Read images whole and compare them with their digests");
    verify_verb->add_option("NAME", verify->names, "Images; all if not given");

    const auto [prune_verb, prune] = declare_verb<ImagePruneOptions>(
        *image, invocation, "prune", "Remove what no VM and no name needs any more");
    prune_verb->add_flag("--dry-run", prune->dry_run, "Only show what would be removed");
    prune_verb->add_flag("--yes,-y", prune->yes, "Do not ask");
}

namespace {

void declare_cards(CLI::App& network, Invocation& invocation) {
    const auto [attach_verb, attach] = declare_verb<NetworkAttachOptions>(
        network, invocation, "attach", "Put another network card into a VM, also while it runs");
    attach_verb->add_option("NAME", attach->name, "VM")->required();
    attach_verb
        ->add_option("NETWORK", attach->network,
                     "As create --network takes it: bridge=br1,vlan=20, nat, ...")
        ->required();

    const auto [detach_verb, detach] = declare_verb<NetworkDetachOptions>(
        network, invocation, "detach", "Take a network card out of a VM");
    detach_verb->add_option("NAME", detach->name, "VM")->required();
    detach_verb->add_option("CARD", detach->card, "Its number, as status shows it, or MAC address")
        ->required();
}

}  // namespace

void declare_network(CLI::App& app, Invocation& invocation) {
    auto* network = app.add_subcommand("network", "Bridges of this host, and network cards of VMs");
    network->require_subcommand(1);
    network->fallthrough();
    const auto [list_verb, list] =
        declare_verb<NetworkListOptions>(*network, invocation, "ls", "List the bridges");
    list_verb->alias("list");

    const auto [setup_verb, setup] = declare_verb<NetworkSetupOptions>(
        *network, invocation, "setup", "Make a bridge of a network card; undone unless confirmed");
    setup_verb->add_option("INTERFACE", setup->interface, "Card; the only wired one if not given");
    setup_verb->add_option("--bridge", setup->bridge, "Name of the bridge (br0)");
    setup_verb->add_option("--timeout", setup->timeout, "Time to confirm it (60s)");
    setup_verb->add_flag("--dry-run", setup->dry_run, "Only show what would change");
    setup_verb->add_flag("--yes,-y", setup->yes, "Do not ask");

    const auto [confirm_verb, confirm] = declare_verb<NetworkConfirmOptions>(
        *network, invocation, "confirm", "Keep what setup made");
    confirm_verb->add_option("--bridge", confirm->bridge, "Name of the bridge");

    const auto [undo_verb, undo] = declare_verb<NetworkUndoOptions>(
        *network, invocation, "undo", "Put everything back as it was before setup");
    undo_verb->add_option("--bridge", undo->bridge, "Name of the bridge");
    undo_verb->add_flag("--force,-f", undo->force, "Though VMs are on it or files were changed");

    declare_cards(*network, invocation);
    const auto [rollback_verb, rollback] = declare_verb<NetworkRollbackOptions>(
        *network, invocation, "rollback", "Take back what nobody confirmed");
    rollback_verb->group("");
    rollback_verb->add_flag("--boot", rollback->boot, "Before the network is up");

    const auto [watch_verb, watch] = declare_verb<NetworkWatchOptions>(
        *network, invocation, "watch", "Take it back unless it is confirmed");
    watch_verb->group("");
    watch_verb->add_option("--bridge", watch->bridge, "Name of the bridge")->required();
    watch_verb->add_option("--setup-fd", watch->setup_fd, "Who makes it")->required();
    watch_verb->add_option("--ready-fd", watch->ready_fd, "Told when it watches");
}

void declare_host(CLI::App& app, Invocation& invocation) {
    const auto [doctor_verb, doctor] =
        declare_verb<DoctorOptions>(app, invocation, "doctor", "Check the host line by line");
    doctor_verb->add_flag("--fix", doctor->fix, "Do what is safe about what is wrong");
    const auto [daemon_verb, daemon] = declare_verb<DaemonVerbOptions>(
        app, invocation, "daemon", "The supervisor in the foreground");
    daemon_verb->add_flag("--system", daemon->system, "Serve the system scope (the unit does)");
    daemon_verb->add_flag("--stop", daemon->stop, "End the running one; the VMs go on");
    daemon_verb->add_flag("--stop-guests", daemon->stop_guests,
                          "Stop all VMs in order, as for a host that shuts down");
    daemon_verb->add_option("--timeout", daemon->timeout, "Time for --stop-guests (85s)");
    daemon_verb->add_flag("--no-autostart", daemon->no_autostart,
                          "Start no VM because the host was started");
    daemon_verb->add_option("--ready-fd", daemon->ready_fd, "Descriptor told when it is ready")
        ->group("");
    declare_verb<VersionOptions>(app, invocation, "version", "Print the version");
    const auto [completion_verb, completion] =
        declare_verb<CompletionOptions>(app, invocation, "completion", "Print a completion script");
    completion_verb->add_option("SHELL", completion->shell, "bash, zsh or fish")
        ->required()
        ->check(CLI::IsMember({"bash", "zsh", "fish"}));

    auto* help = app.add_subcommand("help", "Help on a command");
    const auto words = std::make_shared<std::vector<std::string>>();
    help->add_option("COMMAND", *words, "Command");
    help->callback([&app, words, &invocation] {
        const CLI::App* verb = &app;
        for (const auto& word : *words) verb = verb->get_subcommand(word);
        invocation.verb = HelpOptions{verb->help()};
    });
}

void declare_grammar(CLI::App& app, Invocation& invocation) {
    static const std::map<std::string, Format> formats = {{"table", Format::table},
                                                          {"json", Format::json},
                                                          {"csv", Format::csv},
                                                          {"yaml", Format::yaml}};
    static const std::map<std::string, ProgressMode> modes = {{"auto", ProgressMode::automatic},
                                                              {"json", ProgressMode::json},
                                                              {"none", ProgressMode::none}};
    auto& global = invocation.global;
    app.name("noxsup");
    app.description("noxsup: virtual machines with QEMU and KVM, without libvirt");
    app.require_subcommand(1);
    app.set_version_flag("--version", std::string("noxsup " NOXSUP_VERSION));
    app.add_option("--home", global.home, "Home directory; user scope at that place");
    app.add_flag("--user-scope", global.user_scope, "Your own scope, where the system's runs too");
    app.add_option("--format", global.format, "Output format")
        ->transform(CLI::CheckedTransformer(formats));
    app.add_flag("--quiet,-q", global.quiet, "Names only");
    app.add_flag("--verbose,-v", global.verbose, "Say more");
    app.add_flag("--no-color", global.no_color, "No colours; so does NO_COLOR");
    app.add_option("--progress", global.progress, "Progress on stderr")
        ->transform(CLI::CheckedTransformer(modes));
    declare_lifecycle(app, invocation);
    declare_watching(app, invocation);
    declare_access(app, invocation);
    declare_images(app, invocation);
    declare_snapshots(app, invocation);
    declare_templates(app, invocation);
    declare_network(app, invocation);
    declare_host(app, invocation);
}

}  // namespace noxsup::cli
