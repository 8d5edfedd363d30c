// One virtual machine while the supervisor runs: its record, its QEMU, and what is known of its
// guest.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "imaging/boot_files.hpp"
#include "netbridge/address_watcher.hpp"
#include "netbridge/kernel_network.hpp"
#include "netbridge/nat/rules.hpp"
#include "netbridge/ports.hpp"
#include "netbridge/tap_lease.hpp"
#include "qmp/client.hpp"
#include "qmp/events.hpp"
#include "qmp/resync.hpp"
#include "supervisor/base/command.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/sync.hpp"
#include "supervisor/launch/cgroup.hpp"
#include "supervisor/launch/host_facts.hpp"
#include "supervisor/launch/qemu_process.hpp"
#include "supervisor/lifecycle/machine.hpp"
#include "supervisor/lifecycle/restart_backoff.hpp"
#include "supervisor/state/vm_store.hpp"
#include "supervisor/vm/console.hpp"
#include "supervisor/vm/event_hub.hpp"
#include "supervisor/vm/port_proxy.hpp"
#include "supervisor/vm/ssh_probe.hpp"
#include "supervisor/vm/stages.hpp"

namespace noxsup::vm {

class Vm;

/// Below a VM's directory: what its machine loads where that is no longer what its image has.
inline constexpr auto own_boot_directory = "boot";

/// What all VMs of one supervisor share. Outlives every Vm.
struct Environment {
    using QemuFinder =
        std::function<boost::asio::awaitable<Result<launch::QemuBinary>>(spec::Arch)>;
    using UidFinder = std::function<Result<std::optional<uid_t>>(const state::VmRecord&)>;

    boost::asio::any_io_executor executor;
    const state::Home& home;
    const state::VmStore& store;
    CommandRunner& runner;
    netbridge::KernelNetwork& kernel;
    QemuFinder find_qemu;
    std::string boot_id;
    boost::asio::thread_pool& pool;  ///< for what blocks
    UidFinder find_uid{};            ///< none: QEMU runs as the supervisor does
    const launch::CgroupTree* cgroups = nullptr;
    /// Asked what follows, whenever a VM's QEMU has ended or is found dead (but not by a reboot).
    /// Called before the end is saved; it starts nothing itself.
    std::function<lifecycle::Verdict(Vm&, const lifecycle::End&)> on_end{};
    EventHub events{};
    /// What a disk boots that nobody writes to. None: boots that follow a disk stay as they are.
    std::function<boost::asio::awaitable<Result<imaging::BootLook>>(imaging::BootQuery)>
        look_at_boot{};
    /// The managed NAT network: made where it is not there yet, and there at least as long as what
    /// these return. None of them: there is no such network.
    std::function<boost::asio::awaitable<Result<std::shared_ptr<void>>>(
        std::vector<netbridge::NatPort>)>
        use_nat{};
    std::function<std::shared_ptr<void>(std::vector<netbridge::NatPort>)> keep_nat{};
    std::function<std::vector<std::string>()> nat_notes{};  ///< what is wrong with it
};

/// How far a VM is to be before a call returns.
enum class WaitFor { running, ip, ssh, cloud_init, stopped };
/// Errors: invalid_argument with the words that are known.
Result<WaitFor> wait_for_from_string(std::string_view word);

/// What ended a VM.
enum class StopMethod { was_stopped, power_button, quit, terminate, kill };
std::string_view to_string(StopMethod method);

/// Deadlines of a stop: the button for `button`, then quit, TERM and KILL (promise P13).
struct StopLimits {
    std::chrono::milliseconds button{120'000};
    std::chrono::milliseconds button_again{
        5'000};  ///< a guest that is still booting misses the first one
    std::chrono::milliseconds quit{10'000};
    std::chrono::milliseconds terminate{5'000};
    std::chrono::milliseconds kill{10'000};
};

/// Within which a guest lets go of a card that is taken out, unless it is busy or knows no hotplug.
inline constexpr std::chrono::milliseconds let_go_limit{30'000};

using Deadline = std::chrono::steady_clock::time_point;

/// A network card as cli.md's JSON has it.
Json network_json(const spec::Network& network,
                  const std::vector<netbridge::ObservedAddress>& addresses);

/// A start with a file for the guest's RAM.
struct RamStart {
    std::shared_ptr<const UniqueFd> ram;
    /// The guest boots and what it touches is in the file, which becomes a template's. Else the
    /// file is one, and the guest goes on from there.
    bool shared = false;
    /// A template's: completes when all of its RAM is in the file, which QEMU has before that.
    std::function<boost::asio::awaitable<Result<>>()> ready{};
    UniqueFd devices{};                       ///< a template's: QEMU's migration stream
    std::function<std::string()> identity{};  ///< the guest's first orders, asked for as it goes on
};

/// How many of the console's last lines an error shows.
inline constexpr std::size_t evidence_lines = 8;

/// Owns one VM's QEMU connection, console and watchers. All calls on the one executor; several may
/// wait at once. QEMU itself outlives this object.
class Vm : public std::enable_shared_from_this<Vm> {
  public:
    Vm(Environment& environment, state::VmRecord record, std::string store_problem = {});
    Vm(const Vm&) = delete;
    Vm& operator=(const Vm&) = delete;
    ~Vm();

    [[nodiscard]] const spec::VmSpec& spec() const { return record_.spec; }
    [[nodiscard]] lifecycle::State state() const { return machine_.state(); }
    [[nodiscard]] lifecycle::Reason reason() const { return machine_.reason(); }
    [[nodiscard]] bool is_active() const { return machine_.is_active(); }
    [[nodiscard]] std::optional<uid_t> uid() const { return record_.uid; }
    [[nodiscard]] std::optional<pid_t> pid() const;
    /// The restart policy is to start it again, as far as is known.
    [[nodiscard]] bool restart_pending() const { return record_.restart_pending; }
    /// The VM as cli.md has it; from memory alone, never waits.
    [[nodiscard]] Json to_json() const;
    /// Files below the VM's directory.
    [[nodiscard]] std::filesystem::path directory() const;
    [[nodiscard]] launch::VmFiles files() const;
    /// Where ssh reaches the guest. Errors: wrong_state when it is not running or has no address
    /// yet.
    [[nodiscard]] Result<SshTarget> ssh_target() const;

    /// The QEMU of an earlier supervisor may be there: every call waits until adopt() has found
    /// out.
    /// @pre called before anything is served
    void expect_adoption() { adopting_ = true; }
    /// Completes when adoption is over, at once where there is none.
    boost::asio::awaitable<void> settled();

    /// Whether a start lets the guest run, or leaves the machine standing before its first
    /// instruction (for a look at it, or to be resumed at a chosen moment).
    enum class First { run, stand };
    /// Starts QEMU; one that is paused goes on, an already running VM is fine. A failure leaves no
    /// process, no TAP and no socket. Errors: wrong_state, qemu_failed, host_lacks_*, port_taken,
    /// ...
    boost::asio::awaitable<Result<>> start(Stages& stages, First first = First::run);

    /// Stops the vCPUs; RAM and devices stay as they are. A paused VM is fine. Errors: wrong_state,
    /// qemu_failed, timeout.
    boost::asio::awaitable<Result<>> pause();
    /// Lets a paused guest go on; a running one is fine. Errors: wrong_state; no_space or
    /// guest_failed when the disk stops it again at once; qemu_failed (a guest that has panicked
    /// goes on by a reset only), timeout.
    boost::asio::awaitable<Result<>> resume();

    /// Completes when the VM has come so far. Errors: timeout (the VM may still be coming up),
    /// guest_failed (it ended or panicked), each with the stage, QEMU's words and the last console
    /// lines.
    boost::asio::awaitable<Result<>> wait(WaitFor goal, Deadline deadline, Stages& stages);

    /// Saves RAM and devices to the disk and ends QEMU; start() goes on from there. On an error or
    /// when `cancelled` says so, the guest goes on as it was. Errors: wrong_state, no_space,
    /// io_error, qemu_failed, timeout, interrupted.
    /// @param progress bytes of RAM looked through, and of all
    struct SuspendWatch {
        std::function<void(std::uint64_t done, std::uint64_t total)> progress;
        std::function<bool()> cancelled;
    };
    boost::asio::awaitable<Result<>> suspend(SuspendWatch watch);
    /// Gives up the RAM of a suspended VM: its next start is a boot. Fine for a VM without one.
    /// Errors: wrong_state while its QEMU lives; io_error, no_space.
    Result<> discard_ram();

    /// A point in time to come back to: of the disk and the firmware's variables, and with `ram` of
    /// the guest's memory. A VM may be stopped, suspended (its memory always belongs to it), paused
    /// or running. What fails, or is cut off at any moment, leaves no snapshot and the guest as it
    /// was. Errors: invalid_name, already_exists, wrong_state, no_space, io_error, qemu_failed,
    /// timeout, interrupted.
    struct SnapshotRequest {
        std::string name;  ///< empty: the next of "snap1", "snap2", ...
        std::string comment;
        bool ram = false;
    };
    struct SnapshotOutcome {
        std::optional<state::Snapshot> snapshot;
        std::vector<std::string> notes;  ///< for the user
    };
    boost::asio::awaitable<Result<SnapshotOutcome>> create_snapshot(SnapshotRequest request,
                                                                    SuspendWatch watch);
    /// The disk, the firmware's variables, CPUs and RAM as they were; with the guest's memory it is
    /// suspended then, where a QEMU of today can still load that. Cut off, it is carried on by the
    /// next supervisor or start. Errors: the one for an unknown snapshot; wrong_state while its
    /// QEMU lives; no_space, io_error, command_failed (all is as it was).
    boost::asio::awaitable<Result<SnapshotOutcome>> restore_snapshot(std::string name);
    /// Cut off, or failed half way, it is carried on as above. Errors: as above, and qemu_failed,
    /// timeout.
    boost::asio::awaitable<Result<>> remove_snapshot(std::string name);
    [[nodiscard]] const std::vector<state::Snapshot>& snapshots() const {
        return record_.snapshots;
    }

    /// A start with a file for the guest's RAM, see RamStart. A guest that goes on from a template
    /// is itself when this completes; one that has not become so is ended, and boots with its next
    /// start. Errors: of start(); guest_failed, timeout.
    boost::asio::awaitable<Result<>> start_with(RamStart ram, Stages& stages);
    /// Makes the guest nobody's (imaging::settle_orders), keeps its devices in a new file, and ends
    /// its QEMU: its RAM is in the file that it was started with, its disk in its own.
    /// @pre start_with() a shared file. Errors: wrong_state, guest_failed, timeout, qemu_failed,
    /// no_space, io_error, interrupted; the VM is of no use then.
    boost::asio::awaitable<Result<>> freeze(std::filesystem::path devices, SuspendWatch watch);

    /// Power button, then quit, TERM and KILL; completes when the process is gone. With `force` it
    /// begins at quit. Cancellation withdraws the request; what the guest has begun goes on.
    /// @param reason user or host_shutdown
    boost::asio::awaitable<Result<StopMethod>> stop(
        bool force, StopLimits limits, lifecycle::Reason reason = lifecycle::Reason::user);

    /// The reset button; a guest that was paused or has panicked runs again. Errors: wrong_state,
    /// qemu_failed, timeout.
    boost::asio::awaitable<Result<>> reset();

    /// Finds the QEMU of an earlier supervisor, or that it is gone. Never ends anything. settled()
    /// completes with the first look; one that does not listen yet is looked for some seconds more.
    boost::asio::awaitable<void> adopt();

    /// Asks QEMU how it is, briefly; a QEMU that does not answer becomes `unresponsive`.
    boost::asio::awaitable<void> refresh();

    /// A socket to the serial console. Errors: wrong_state.
    Result<UniqueFd> attach_console();

    /// Gives it another name; its guest keeps its host name. @pre the name is valid and free
    /// Errors: wrong_state unless it is stopped; as VmStore::rename.
    Result<> rename(const std::string& name);
    /// Changes its spec, on disk first. @param for_next_qemu the changed settings that a QEMU which
    /// runs now has not, for `degraded`. Errors: of spec::validate; io_error, no_space (nothing is
    /// changed then).
    using Edit = std::function<void(spec::VmSpec&)>;
    boost::asio::awaitable<Result<>> change(Edit edit, std::vector<std::string> for_next_qemu);

    /// Puts another card into it, in the lowest free slot: while it runs into a spare port too,
    /// else with its next start. A failure leaves it, its QEMU and the host as they were. Errors:
    /// wrong_state (also for one that is suspended, or where no place is free), of spec::validate,
    /// host_lacks_*, port_taken, qemu_failed, timeout, io_error, no_space.
    /// @param card as of choose_network(); its slot and device may become others
    boost::asio::awaitable<Result<>> attach_card(spec::Network card);
    /// Takes the card out that find_card() knows under this text. From a running VM only one that
    /// is in a spare port, once the guest lets go of it. Errors: invalid_argument; wrong_state (no
    /// such place, the only card, a guest that does not run); timeout (the guest keeps it; should
    /// it let go later, it is taken out then), qemu_failed, io_error, no_space.
    /// @param limit for the guest
    boost::asio::awaitable<Result<>> detach_card(std::string name,
                                                 std::chrono::milliseconds limit = let_go_limit);
    /// Those of the spec, and the one that is being attached: its addresses are not free any more.
    [[nodiscard]] std::vector<spec::Network> cards() const;

    /// No start begins any more; for delete. Errors: wrong_state (active), vm_not_found (marked).
    Result<> mark_deleted();
    /// The deletion failed: the VM is one like others again.
    void unmark_deleted() { deleted_ = false; }

    /// Lets go of QEMU without ending it: for the end of the supervisor.
    void release();
    /// Completes when every task of this VM has ended. @pre release() was called
    boost::asio::awaitable<void> join();

    /// Shows and keeps what the keeper has decided: a start to come, none, or that it is given up.
    /// Saves where that changes the record.
    void follow(const lifecycle::Verdict& verdict);

    /// Keeps how long the stages of the last start took; on disk with the next change of state, or
    /// at release(): worth no write of their own.
    void remember_stages(Json stages);

    /// Asks the guest's agent, beside everything else, for the addresses of its cards that nothing
    /// else has told: of a guest that has been quiet since this supervisor found it, or none of
    /// whose frames are seen. Called now and then; fine where there is no agent.
    void ask_agent();

    /// Keeps the QEMU log within its bound; called now and then.
    void trim_logs() const;

    /// Whether it runs with a port on a bridge, or several.
    [[nodiscard]] bool has_port() const;
    /// Puts the rules of its ports back where they are not among the tables that there are: whoever
    /// loads the host's firewall anew flushes them. Called now and then, and after adoption.
    void restore_ports(const std::vector<std::string>& tables);

  private:
    struct Nic;
    struct Running;
    /// Where a service of the guest is reached.
    struct Endpoint {
        std::string host;
        std::uint16_t port = 0;
    };

    // vm_start.cpp
    boost::asio::awaitable<Result<>> launch(First first);
    boost::asio::awaitable<Result<>> run_pending(launch::PendingQemu& pending, Running& running,
                                                 First first);
    Result<launch::Confinement> confine();
    UniqueFd make_cgroup(launch::Confinement& confinement);
    void save_intent(First first, std::uint16_t former_ssh_port);
    Result<> connect_console(Running& running);
    void commit(std::shared_ptr<Running> running, First first);

    // vm_network.cpp
    boost::asio::awaitable<Result<>> join_nat(Nic& nic) const;
    boost::asio::awaitable<Result<>> prepare_networks(Running& running);
    Result<> claim_ports(Nic& nic) const;
    boost::asio::awaitable<Result<>> lease_device(Nic& nic) const;
    [[nodiscard]] Result<netbridge::TapRequest> tap_request(const spec::Network& card) const;
    Result<> lease_port(Nic& nic) const;
    boost::asio::awaitable<Result<>> lease_macvtap(Nic& nic) const;
    [[nodiscard]] Result<std::unique_ptr<netbridge::AddressWatcher>> watch_nic(
        const spec::Network& card) const;
    Result<> open_proxies(Nic& nic) const;
    Result<> reserve_ssh_port(Nic& nic);
    void tell_unfiltered(const std::optional<Error>& why);
    void forget_port(const Nic& nic) const;
    void forget_ports(const Running& running) const;
    [[nodiscard]] Result<bool> restore_port(const Nic& nic,
                                            const std::vector<std::string>& tables) const;
    void watch_again(Running& running);
    [[nodiscard]] bool has_address() const;
    [[nodiscard]] std::uint16_t ssh_port() const;
    [[nodiscard]] std::optional<Endpoint> guest_ssh() const;
    [[nodiscard]] Json networks_json() const;

    // vm_cards.cpp
    [[nodiscard]] Result<> check_no_card_change() const;
    boost::asio::awaitable<Result<>> begin_card_change();
    [[nodiscard]] Result<> check_fence(const spec::Network& card) const;
    Result<> take_slot(spec::Network& card, const std::set<unsigned>& taken) const;
    boost::asio::awaitable<Result<>> place(Running& running, spec::Network& card);
    boost::asio::awaitable<Result<>> plug(std::shared_ptr<Running> running, spec::Network card);
    boost::asio::awaitable<Result<>> prepare_card(Nic& nic);
    boost::asio::awaitable<Result<>> tell_qemu(Running& running, Nic& nic);
    boost::asio::awaitable<Result<>> give_fds(Running& running, Nic& nic);
    boost::asio::awaitable<void> take_back(std::shared_ptr<Running> running,
                                           std::shared_ptr<Nic> nic);
    void drop_nic(Running& running, const std::shared_ptr<Nic>& nic) const;
    boost::asio::awaitable<Result<>> unplug(std::shared_ptr<Running> running,
                                            std::shared_ptr<Nic> nic,
                                            std::chrono::milliseconds limit);
    boost::asio::awaitable<Result<>> ask_to_let_go(Running& running, Nic& nic);
    boost::asio::awaitable<bool> wait_let_go(Running& running, Nic& nic,
                                             std::chrono::milliseconds limit);
    boost::asio::awaitable<Result<>> take_out(std::shared_ptr<Running> running,
                                              std::shared_ptr<Nic> nic);
    boost::asio::awaitable<void> take_out_late(std::shared_ptr<Running> running,
                                               std::shared_ptr<Nic> nic);
    Result<> strike_out_card(unsigned slot);
    void on_device_deleted(const std::string& id);

    // vm_agent.cpp
    [[nodiscard]] static bool lacks_address(const Nic& nic);
    boost::asio::awaitable<void> take_agents_word(std::shared_ptr<Running> running);

    // vm_watch.cpp and vm.cpp
    void watch(const std::shared_ptr<Running>& running);
    void listen_to(qmp::Client& client);
    boost::asio::awaitable<void> watch_exit(std::shared_ptr<Running> running);
    void watch_card(const std::shared_ptr<Running>& running, const std::shared_ptr<Nic>& nic);
    boost::asio::awaitable<void> watch_addresses(std::shared_ptr<Running> running,
                                                 std::shared_ptr<Nic> nic);
    void on_event(const qmp::Event& event);
    void on_console(std::string_view data);
    void on_guest_reset();
    void on_exit(Running& running);
    void ask_what_follows();
    void heed(const lifecycle::Verdict& verdict);
    [[nodiscard]] state::VmRecord current_record() const;
    [[nodiscard]] bool was_killed_for_memory(const std::optional<ExitStatus>& status) const;
    void save();
    Result<> keep(const Edit& edit, std::vector<std::string> for_next_qemu = {});
    void changed();
    [[nodiscard]] std::optional<Error> failure_of_guest(const std::string& stage) const;
    [[nodiscard]] Error with_evidence(Error error) const;
    boost::asio::awaitable<bool> wait_exit(std::shared_ptr<Running> running,
                                           std::chrono::milliseconds limit);

    // vm_events.cpp
    void publish_change();
    void publish(const qmp::Event& event);
    void publish_addresses(const Nic& nic);
    [[nodiscard]] Event event_now() const;

    // vm_wait.cpp
    boost::asio::awaitable<Result<>> wait_stopped(Deadline deadline);
    boost::asio::awaitable<Result<>> wait_running(Deadline deadline);
    boost::asio::awaitable<Result<>> wait_kernel(Deadline deadline);
    boost::asio::awaitable<Result<>> wait_network(Deadline deadline);
    boost::asio::awaitable<Result<>> wait_login(Deadline deadline);
    boost::asio::awaitable<Result<>> wait_cloud_init(Deadline deadline);
    boost::asio::awaitable<bool> banner_answers();

    // vm_stop.cpp
    boost::asio::awaitable<Result<StopMethod>> end_process(std::shared_ptr<Running> running,
                                                           bool force, StopLimits limits);
    boost::asio::awaitable<bool> press_button(std::shared_ptr<Running> running, StopLimits limits);
    boost::asio::awaitable<Result<>> reset_running(std::shared_ptr<Running> running);
    boost::asio::awaitable<Result<>> run_after_reset(std::shared_ptr<Running> running);

    // vm_pause.cpp
    boost::asio::awaitable<Result<std::shared_ptr<Running>>> reach_for(const char* what);
    [[nodiscard]] Error overtaken(const char* what, const Running& running, Error error) const;
    boost::asio::awaitable<Result<>> expect_writes();

    // vm_suspend.cpp
    [[nodiscard]] std::filesystem::path ram_file() const { return directory() / "ram-state"; }
    boost::asio::awaitable<Result<>> suspend_running(std::shared_ptr<Running> running,
                                                     SuspendWatch watch);
    boost::asio::awaitable<Result<>> save_ram(std::shared_ptr<Running> running, SuspendWatch watch);
    boost::asio::awaitable<Result<state::SavedRam>> save_ram_to(std::shared_ptr<Running> running,
                                                                std::filesystem::path path,
                                                                SuspendWatch watch);
    boost::asio::awaitable<Result<>> follow_migration(Running& running, SuspendWatch watch);
    boost::asio::awaitable<Result<>> write_stream(std::shared_ptr<Running> running,
                                                  std::filesystem::path path, SuspendWatch watch);
    boost::asio::awaitable<Result<>> load_ram(Running& running);
    boost::asio::awaitable<Result<>> read_stream(Running& running, UniqueFd stream);
    [[nodiscard]] Result<> check_ram_fits(const launch::QemuBinary& qemu) const;
    Result<> strike_out_ram();
    boost::asio::awaitable<Result<>> let_run(qmp::Client& client);

    // vm_template.cpp
    [[nodiscard]] bool is_warm_start() const { return ram_start_ && !ram_start_->shared; }
    void use_ram_file(launch::StartRequest& request, Running& running) const;
    boost::asio::awaitable<Result<>> load_template(Running& running);
    boost::asio::awaitable<Result<>> await_identity(std::shared_ptr<Running> running);
    boost::asio::awaitable<Result<std::string>> carry_out(std::shared_ptr<Running> running,
                                                          std::string orders);
    boost::asio::awaitable<Result<>> freeze_running(std::shared_ptr<Running> running,
                                                    std::filesystem::path devices,
                                                    SuspendWatch watch);
    boost::asio::awaitable<void> end_without_identity();

    // vm_snapshot.cpp and vm_snapshot_restore.cpp
    struct Snapshots;
    [[nodiscard]] Result<> check_not_saving() const;
    boost::asio::awaitable<Result<>> finish_snapshot_work();
    boost::asio::awaitable<Result<>> settle_disk();
    boost::asio::awaitable<void> carry_on_snapshot_work();

    // vm_boot.cpp
    boost::asio::awaitable<Result<>> settle_boot();
    boost::asio::awaitable<void> look_after_end();
    boost::asio::awaitable<Result<bool>> follow_disk();
    Result<bool> take_boot(const imaging::BootLook& look);
    boost::asio::awaitable<void> follow_reboot(std::shared_ptr<Running> running);
    boost::asio::awaitable<void> follow_unseen_reboot(std::shared_ptr<Running> running);
    [[nodiscard]] Result<> connect_guest_port(Running& running) const;
    void tell_guest_to_power_off(const Running& running) const;

    // vm_adopt.cpp
    boost::asio::awaitable<void> look_for_qemu();
    [[nodiscard]] bool is_unidentified() const;
    void on_unidentified(const std::string& reason);
    void on_found_dead();
    boost::asio::awaitable<void> adopt_alive(launch::Alive alive);
    boost::asio::awaitable<void> apply(qmp::Snapshot snapshot, std::shared_ptr<Running> running);
    void limit_again();
    boost::asio::awaitable<bool> reach(std::shared_ptr<Running> running);
    void on_silence();
    boost::asio::awaitable<void> await_recovery();

    Environment& environment_;
    state::VmRecord record_;
    lifecycle::Machine machine_;
    /// What was last published of it.
    struct Published {
        std::string name;
        lifecycle::State state;
        lifecycle::Reason reason;
        bool operator==(const Published&) const = default;
    };
    Published published_;
    std::vector<std::string> degraded_;
    std::shared_ptr<Running> running_;
    std::optional<Deadline> restart_at_;
    std::vector<std::string> last_console_;  ///< of the run that has ended
    std::vector<std::string> last_qemu_;
    bool deleted_ = false;
    bool adopting_ = false;
    bool stages_unsaved_ = false;
    bool suspending_ = false;
    bool snapshotting_ = false;
    bool changing_cards_ = false;
    std::optional<spec::Network> coming_card_;  ///< that is not in the spec yet
    bool looking_at_boot_ = false;
    bool following_reboot_ = false;
    bool recovering_ = false;
    std::optional<RamStart> ram_start_;  ///< while such a start is under way
    std::string order_token_;            ///< of the identity that its guest was sent
    bool asking_agent_ = false;          ///< its port serves one client at a time
    bool connecting_ = false;            ///< to QMP, which serves one client at a time
    Condition condition_;
    TaskGroup tasks_;
};

}  // namespace noxsup::vm
