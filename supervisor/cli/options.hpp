// What a command line says, as plain data: the global options and one structure a verb.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace noxsup::cli {

enum class Format { table, json, csv, yaml };
enum class ProgressMode { automatic, json, none };

/// Options that every verb takes, before or after it.
struct GlobalOptions {
    std::string home;
    bool user_scope = false;
    bool system_scope = false;  ///< said by `daemon --system` alone
    Format format = Format::table;
    bool quiet = false;  ///< names only; beats `format`
    bool verbose = false;
    bool no_color = false;
    ProgressMode progress = ProgressMode::automatic;
};

/// Names of VMs, or all of them.
struct Names {
    std::vector<std::string> names;
    bool all = false;
};

struct CreateOptions {
    std::string name;
    std::optional<std::string> os, image, arch, cpus, ram, disk, ip, gateway, mac, rate, vlan, user;
    std::vector<std::string> networks, publish, dns;
    std::vector<std::string> ssh_keys;    ///< files
    std::vector<std::string> cloud_init;  ///< files, URLs, or "-"
    std::optional<std::string> accel, restart, wait, boot, timeout;
    bool no_autostart = false;
    bool no_start = false;
    bool isolated = false;
    bool allow_spoofing = false;
    bool stock = false;
    bool password = false;
    bool cold = false;
    bool yes = false;
};

struct StartOptions {
    Names vms;
    bool paused = false;
    bool cold = false;
    std::string wait = "ssh";
    std::optional<std::string> timeout;
};
struct StopOptions {
    Names vms;
    bool force = false;
    std::optional<std::string> timeout;
};
struct RestartOptions {
    Names vms;
    bool force = false;
    std::string wait = "ssh";
    std::optional<std::string> timeout;
};
struct PauseOptions {
    Names vms;
};
struct SuspendOptions {
    Names vms;
};
struct ResumeOptions {
    Names vms;
};
struct ResetOptions {
    Names vms;
};
struct RenameOptions {
    std::string name;
    std::string new_name;
};
struct SetOptions {
    std::string name;
    std::vector<std::string> changes;  ///< KEY=VALUE
};
struct DeleteOptions {
    Names vms;
    bool yes = false;
};
struct ListOptions {};
struct StatusOptions {
    Names vms;
};
struct WaitOptions {
    std::string name;
    std::string goal;
    std::optional<std::string> timeout;
};
struct AutostartOptions {
    Names vms;
    std::optional<std::string> mode;  ///< on, off or last
    std::optional<unsigned> order;
    std::optional<std::string> delay;
};
struct EventsOptions {
    std::vector<std::string> names;  ///< none: of all
    bool follow = false;
    std::optional<unsigned> lines;
};
struct TopOptions {
    std::string interval = "2s";
    bool once = false;
};
struct SshOptions {
    std::string name;
    std::string user;                  ///< empty: the VM's
    std::vector<std::string> command;  ///< joined by spaces
};
struct ExecOptions {
    std::string name;
    std::string user;
    std::vector<std::string> command;  ///< kept apart
};
struct SshConfigOptions {
    std::vector<std::string> names;  ///< none: every VM that runs
};
struct CpOptions {
    std::vector<std::string> paths;  ///< sources and, last, the target
    bool recursive = false;
    bool preserve = false;
};
struct ConsoleOptions {
    std::string name;
};
struct LogsOptions {
    std::string name;
    bool follow = false;
    std::string log = "console";  ///< console, qemu or cloud-init
    std::optional<unsigned> lines;
};
struct IpOptions {
    std::string name;
};
struct ImageListOptions {};
struct ImageAvailableOptions {};
struct ImagePullOptions {
    std::vector<std::string> os;
    std::optional<std::string> arch;
};
struct ImageBuildOptions {
    std::string os;
    std::optional<std::string> arch;
    std::optional<std::string> mirror;
};
struct ImageImportOptions {
    std::string file;
    std::optional<std::string> name, os, arch;
    bool raw = false;
};
struct ImageRemoveOptions {
    std::vector<std::string> names;
};
struct ImageVerifyOptions {
    std::vector<std::string> names;  ///< none: all that are ours
};
struct ImagePruneOptions {
    bool dry_run = false;
    bool yes = false;
};
struct CloneOptions {
    std::string name;
    std::string new_name;
    std::optional<std::string> snapshot;
    bool full = false;
};
struct SnapshotCreateOptions {
    std::string name;
    std::optional<std::string> snapshot, comment;
    bool ram = false;
};
struct SnapshotListOptions {
    std::vector<std::string> names;  ///< none: of all
};
struct SnapshotRestoreOptions {
    std::string name;
    std::string snapshot;
    bool force = false;
};
struct SnapshotRemoveOptions {
    std::string name;
    std::vector<std::string> snapshots;
};
struct TemplateCreateOptions {
    std::string os;
    std::optional<std::string> arch, cpus, ram, disk, user, accel, timeout;
    std::vector<std::string> networks;
};
struct TemplateListOptions {};
struct TemplateRemoveOptions {
    std::vector<std::string> ids;
};
struct DoctorOptions {
    bool fix = false;  ///< do what is safe about what is wrong
};
struct NetworkListOptions {};
struct NetworkSetupOptions {
    std::string interface;  ///< empty: the only wired one
    std::string bridge = "br0";
    std::string timeout = "60s";
    bool dry_run = false;
    bool yes = false;
};
struct NetworkConfirmOptions {
    std::string bridge;  ///< empty: the one that waits
};
struct NetworkUndoOptions {
    std::string bridge;  ///< empty: the only one
    bool force = false;
};
struct NetworkAttachOptions {
    std::string name;
    std::string network;  ///< as `create --network` takes it
};
struct NetworkDetachOptions {
    std::string name;
    std::string card;  ///< its number or MAC address
};
/// Of the unit that runs before the network at boot, and of the supervisor's start.
struct NetworkRollbackOptions {
    bool boot = false;
};
/// Of the process that setup leaves behind.
struct NetworkWatchOptions {
    std::string bridge;
    int setup_fd = -1;
    int ready_fd = -1;
};
struct DaemonVerbOptions {
    bool system = false;
    bool stop = false;
    bool stop_guests = false;
    std::optional<std::string> timeout;  ///< of stop_guests
    bool no_autostart = false;
    int ready_fd = -1;
};
struct VersionOptions {};
struct HelpOptions {
    std::string text;
};
struct CompletionOptions {
    std::string shell;
};

using Verb = std::variant<
    CreateOptions, StartOptions, StopOptions, PauseOptions, ResumeOptions, SuspendOptions,
    RestartOptions, ResetOptions, RenameOptions, SetOptions, DeleteOptions, ListOptions,
    StatusOptions, WaitOptions, AutostartOptions, EventsOptions, TopOptions, SshOptions,
    ExecOptions, SshConfigOptions, CpOptions, ConsoleOptions, LogsOptions, IpOptions,
    ImageListOptions, ImageAvailableOptions, ImagePullOptions, ImageBuildOptions,
    ImageImportOptions, ImageRemoveOptions, ImageVerifyOptions, ImagePruneOptions, CloneOptions,
    SnapshotCreateOptions, SnapshotListOptions, SnapshotRestoreOptions, SnapshotRemoveOptions,
    TemplateCreateOptions, TemplateListOptions, TemplateRemoveOptions, DoctorOptions,
    NetworkListOptions, NetworkSetupOptions, NetworkConfirmOptions, NetworkUndoOptions,
    NetworkAttachOptions, NetworkDetachOptions, NetworkRollbackOptions, NetworkWatchOptions,
    DaemonVerbOptions, VersionOptions, HelpOptions, CompletionOptions>;

/// One command line, understood.
struct Invocation {
    GlobalOptions global;
    Verb verb = HelpOptions();
};

}  // namespace noxsup::cli
