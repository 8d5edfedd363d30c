// Starting a VM: everything QEMU needs, QEMU itself, and the first words with it, as one
// transaction.

#include <sys/stat.h>

#include "qmp/commands.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/landlock.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/scope_exit.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/base/time.hpp"
#include "supervisor/base/unix_socket.hpp"
#include "supervisor/vm/vm_running.hpp"

namespace noxsup::vm {
namespace {

/// A QEMU that was just started loads its libraries first, on a machine that may be busy; one that
/// died instead hangs up at once.
constexpr std::chrono::seconds first_greeting_deadline{60};

/// QEMU's words on a port that somebody took between our check and its start.
bool is_port_clash(const std::vector<std::string>& words) {
    for (const auto& line : words) {
        if (line.find("Could not set up host forwarding rule") != std::string::npos) return true;
    }
    return false;
}

}  // namespace

boost::asio::awaitable<Result<>> Vm::start(Stages& stages, First first) {
    const auto self = shared_from_this();
    co_await settled();
    NOXSUP_CO_TRY(co_await settle_disk());
    while (machine_.state() == lifecycle::State::starting || snapshotting_)
        co_await condition_.wait();
    if (first == First::stand && machine_.state() == lifecycle::State::running) {
        co_return Error{ErrorCode::wrong_state, spec().name + " is running already",
                        "stand it still with noxsup pause " + spec().name};
    }
    if (machine_.state() == lifecycle::State::running) co_return Result<>();
    if (machine_.state() == lifecycle::State::paused) {
        if (first == First::stand) co_return Result<>();
        co_return co_await resume();
    }
    if (deleted_ || !machine_.may_start()) {
        co_return Error{ErrorCode::wrong_state,
                        "cannot start " + spec().name + ": it is " +
                            std::string(lifecycle::to_string(machine_.state())),
                        "see noxsup status " + spec().name};
    }
    machine_.on_starting();
    last_console_.clear();
    last_qemu_.clear();
    stages.begin("launch");
    changed();
    // Also when the call is cancelled in the middle: no VM stays "starting" for ever.
    const ScopeExit finish([this] {
        if (machine_.state() == lifecycle::State::starting) machine_.on_start_withdrawn();
        changed();
    });
    auto outcome = co_await launch(first);
    stages.end();
    if (!outcome) {
        auto error = std::move(outcome).error();
        if (error.stage.empty()) error.stage = "launch";
        co_return error;
    }
    co_return Result<>();
}

boost::asio::awaitable<Result<>> Vm::launch(First first) {
    const auto arch = record_.spec.arch;
    NOXSUP_CO_TRY(co_await settle_boot());
    NOXSUP_CO_TRY_VALUE(const auto qemu, co_await environment_.find_qemu(arch));
    if (!qemu.supports(record_.spec.machine)) {
        co_return Error{
            ErrorCode::host_lacks_qemu,
            qemu.path + " " + qemu.version + " has no machine type " + record_.spec.machine,
            "install the QEMU this VM was created with, or a newer one"};
    }
    if (record_.saved_ram) NOXSUP_CO_TRY(check_ram_fits(qemu));
    auto running = std::make_shared<Running>();
    const auto former_ssh_port = ssh_port();
    bool started = false;
    // Also when the call is cancelled: rules and macvtaps do not go by themselves, as TAPs do.
    const ScopeExit forget([this, &started, &prepared = *running] {
        if (!started) forget_ports(prepared);
    });
    NOXSUP_CO_TRY(co_await prepare_networks(*running));
    launch::StartRequest request;
    NOXSUP_CO_TRY_VALUE(request.confinement, confine());
    const auto cgroup = make_cgroup(request.confinement);
    request.cgroup_fd = cgroup.get();
    record_.confinement = launch::to_json(request.confinement);
    save_intent(first, former_ssh_port);
    request.spec = record_.spec;
    request.qemu = qemu;
    request.files = files();
    if (record_.saved_ram) request.ram = launch::Ram::incoming;
    use_ram_file(request, *running);
    for (const auto& nic : running->nics) {
        auto& fds = request.nics.emplace_back();
        if (!nic->tap) continue;
        for (const auto& queue : nic->tap->taps) fds.taps.push_back(queue.get());
        for (const auto& queue : nic->tap->vhosts) fds.vhosts.push_back(queue.get());
    }
    trim_logs();
    struct stat log_info {};
    if (::stat(request.files.qemu_log.c_str(), &log_info) == 0) {
        running->log_offset = static_cast<std::uint64_t>(log_info.st_size);
    }
    NOXSUP_CO_TRY_VALUE(auto pending, launch::start_qemu(environment_.executor, request));
    running->identity = pending.identity();
    auto outcome = co_await run_pending(pending, *running, first);
    if (!outcome) {
        auto error = std::move(outcome).error();
        // A suspended guest that could not be woken is still there.
        if (error.code != ErrorCode::interrupted && !record_.saved_ram) {
            machine_.on_start_failed(lifecycle::Reason::qemu_exit);
            save();
        }
        co_return error;
    }
    auto child = pending.commit();
    started = true;
    running->pidfd = std::move(child.pidfd);
    running->is_child = true;
    commit(std::move(running), first);
    co_return Result<>();
}

Result<launch::Confinement> Vm::confine() {
    if (environment_.find_uid) {
        NOXSUP_TRY_VALUE(record_.uid, environment_.find_uid(record_));
    }
    NOXSUP_TRY_VALUE(auto plan, launch::plan_confinement(record_.spec, record_.uid,
                                                         launch::kvm_device_rights()));
    plan.landlock = landlock_abi();
    return plan;
}

/// The leaf that limits QEMU, where there is a tree for it. Without limits a VM runs as well, and
/// it shows.
UniqueFd Vm::make_cgroup(launch::Confinement& confinement) {
    constexpr std::string_view not_limited = "no-cgroup";
    std::erase_if(degraded_, [&](const auto& text) { return text.starts_with(not_limited); });
    const auto* tree = environment_.cgroups;
    if (tree == nullptr || !tree->why_none().empty()) return {};
    const auto& id = record_.spec.id;
    // With it go the counters of an earlier run.
    tree->remove_leaf(id);
    auto leaf = tree->make_leaf(id, launch::cgroup_limits(record_.spec));
    if (!leaf) {
        log_warning(spec().name + " runs without limits: " + leaf.error().message);
        degraded_.push_back(std::string(not_limited) + ": " + leaf.error().message);
        return {};
    }
    confinement.cgroup = tree->leaf(id);
    return std::move(*leaf);
}

/// What a supervisor that finds this QEMU must know, should this one end before the start is
/// committed: the port that leads to ssh, and that the guest is not to run.
void Vm::save_intent(First first, std::uint16_t former_ssh_port) {
    if (first == First::run && ssh_port() == former_ssh_port) return;
    auto intent = record_;
    if (first == First::stand) {
        intent.state = lifecycle::State::paused;
        intent.reason = lifecycle::Reason::user;
    }
    if (const auto saved = environment_.store.save(intent); !saved)
        log_error("the state of " + record_.spec.name + " was not saved: " + saved.error().message);
}

boost::asio::awaitable<Result<>> Vm::run_pending(launch::PendingQemu& pending, Running& running,
                                                 First first) {
    const auto explain = [&](Error error, std::string next) {
        auto words = pending.last_words();
        if (is_port_clash(words)) error.code = ErrorCode::port_taken;
        if (!words.empty()) error.message = "QEMU did not start: " + words.back();
        error.evidence = std::move(words);
        error.hint = std::move(next);
        return error;
    };
    const auto look = "see noxsup logs " + spec().name + " --qemu";
    qmp::ClientOptions patient;
    patient.greeting_deadline = first_greeting_deadline;
    auto client = co_await qmp::Client::connect(files().qmp_socket(), patient);
    if (!client) co_return explain(std::move(client).error(), look);
    running.qmp = std::move(*client);
    NOXSUP_CO_TRY(connect_console(running));
    NOXSUP_CO_TRY(connect_guest_port(running));
    if (record_.saved_ram) {
        auto loaded = co_await load_ram(running);
        if (!loaded) {
            co_return explain(
                std::move(loaded).error(),
                "boot it, without the memory it had: noxsup start --cold " + spec().name);
        }
        running.kernel_seen = true;
    }
    if (is_warm_start()) {
        auto loaded = co_await load_template(running);
        if (!loaded) {
            co_return explain(std::move(loaded).error(),
                              "let it boot instead: noxsup start " + spec().name);
        }
    }
    if (first == First::stand) co_return Result<>();
    auto begun = co_await let_run(*running.qmp);
    if (!begun) co_return explain(std::move(begun).error(), look);
    co_return Result<>();
}

Result<> Vm::connect_console(Running& running) {
    NOXSUP_TRY_VALUE(auto socket, connect_unix(files().console_socket()));
    NOXSUP_TRY_VALUE(auto log, BoundedLog::open(directory() / "console.log"));
    std::weak_ptr<Vm> weak = weak_from_this();
    running.console = std::make_unique<Console>(environment_.executor, std::move(socket),
                                                std::move(log), [weak](std::string_view data) {
                                                    if (const auto self = weak.lock())
                                                        self->on_console(data);
                                                });
    return {};
}

void Vm::commit(std::shared_ptr<Running> running, First first) {
    for (const auto& nic : running->nics) nic->hand_over();
    running_ = std::move(running);
    record_.started_at = rfc3339_now();
    record_.restart_pending = false;
    restart_at_.reset();
    record_.pending.clear();
    if (first == First::stand) {
        machine_.on_paused(lifecycle::Reason::user);
    } else {
        machine_.on_running();
    }
    save();
    watch(running_);
    log_info(spec().name + " runs as pid " + std::to_string(running_->identity.pid));
}

}  // namespace noxsup::vm
