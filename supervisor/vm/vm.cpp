#include "supervisor/vm/vm.hpp"

#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "supervisor/base/log.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/base/time.hpp"
#include "supervisor/launch/life_lock.hpp"
#include "supervisor/vm/bounded_log.hpp"

namespace noxsup::vm {
namespace {

using lifecycle::Reason;
using lifecycle::State;

constexpr std::size_t evidence_lines = 8;

/// What of the allocated space a file takes on the medium; 0 when it is not there.
std::uint64_t used_bytes(const std::filesystem::path& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return 0;
    return static_cast<std::uint64_t>(info.st_blocks) * 512;
}

Reason reason_of(const qmp::ShutdownEvent& event) {
    switch (event.reason) {
        case qmp::ShutdownCause::guest_shutdown:
            return Reason::guest_shutdown;
        case qmp::ShutdownCause::guest_reset:
            return Reason::guest_reset;
        case qmp::ShutdownCause::guest_panic:
            return Reason::guest_panic;
        case qmp::ShutdownCause::host_signal:
            return Reason::killed;
        default:
            return Reason::none;
    }
}

Json publish_json(const spec::Network& network) {
    auto list = Json::array();
    for (const auto& entry : network.publish) {
        list.push_back({{"host_address", entry.host_address},
                        {"host_port", entry.host_port},
                        {"guest_port", entry.guest_port},
                        {"protocol", to_string(entry.protocol)}});
    }
    return list;
}

Json null_if_empty(std::string_view text) {
    return text.empty() ? Json() : Json(text);
}

/// A moment of the monotonic clock as the wall clock will show it, as far as is known now.
Json time_json(const std::optional<Deadline>& when) {
    if (!when) return {};
    const auto left = *when - std::chrono::steady_clock::now();
    return rfc3339_in(std::chrono::ceil<std::chrono::milliseconds>(left));
}

}  // namespace

Result<WaitFor> wait_for_from_string(std::string_view word) {
    constexpr std::array words{std::pair{std::string_view("running"), WaitFor::running},
                               std::pair{std::string_view("ip"), WaitFor::ip},
                               std::pair{std::string_view("ssh"), WaitFor::ssh},
                               std::pair{std::string_view("cloud-init"), WaitFor::cloud_init},
                               std::pair{std::string_view("stopped"), WaitFor::stopped}};
    for (const auto& [known, value] : words) {
        if (known == word) return value;
    }
    return Error{ErrorCode::invalid_argument, "cannot wait for \"" + std::string(word) + "\"",
                 "one of running, ip, ssh, cloud-init, stopped"};
}

std::string_view to_string(StopMethod method) {
    switch (method) {
        case StopMethod::was_stopped:
            return "was-stopped";
        case StopMethod::power_button:
            return "power-button";
        case StopMethod::quit:
            return "quit";
        case StopMethod::terminate:
            return "term";
        case StopMethod::kill:
            return "kill";
    }
    return "unknown";
}

Vm::Vm(Environment& environment, state::VmRecord record, std::string store_problem)
    : environment_(environment),
      record_(std::move(record)),
      machine_(record_.state, record_.reason),
      published_{record_.spec.name, record_.state, record_.reason},
      condition_(environment.executor),
      tasks_(environment.executor) {
    if (!store_problem.empty()) degraded_.push_back(std::move(store_problem));
}

Vm::~Vm() = default;

std::optional<pid_t> Vm::pid() const {
    return running_ ? std::optional(running_->identity.pid) : std::nullopt;
}

std::filesystem::path Vm::directory() const {
    return environment_.home.vm(record_.spec.name);
}

launch::VmFiles Vm::files() const {
    const auto& spec = record_.spec;
    const auto here = directory();
    launch::VmFiles files;
    files.disk = here / "disk.qcow2";
    if (!spec.disk.base_file.empty()) files.base = environment_.home.images() / spec.disk.base_file;
    if (spec.cloud_init.enabled) files.seed = here / "cloud-init.iso";
    if (!spec.boot.firmware_code.empty()) {
        files.firmware_code = spec.boot.firmware_code;
        files.firmware_vars = here / "efivars.fd";
    }
    // A relative name is of a file in the VM's directory; operator/ leaves absolute ones alone.
    if (!spec.boot.kernel.empty()) files.kernel = here / spec.boot.kernel;
    if (!spec.boot.initrd.empty()) files.initrd = here / spec.boot.initrd;
    files.qemu_log = here / "qemu.log";
    files.lock = here / "lock";
    files.runtime_dir = environment_.home.runtime_of(spec.id);
    return files;
}

Json Vm::to_json() const {
    const auto& spec = record_.spec;
    auto addresses = Json::array();
    if (running_) {
        for (const auto& seen : running_->addresses) addresses.push_back(seen.address.to_string());
    }
    auto degraded = degraded_;
    if (!record_.pending.empty())
        degraded.push_back("restart-needed: " + noxsup::join(record_.pending, ", "));
    Json ssh{{"user", spec.user}, {"host", nullptr}, {"port", nullptr}};
    if (const auto target = ssh_target()) {
        ssh["host"] = target->host;
        ssh["port"] = target->port;
    }
    return {
        {"name", spec.name},
        {"uuid", spec.uuid},
        {"state", lifecycle::to_string(machine_.state())},
        {"reason", null_if_empty(lifecycle::to_string(machine_.reason()))},
        {"degraded", degraded},
        {"arch", to_string(spec.arch)},
        {"os", null_if_empty(spec.os)},
        {"image", null_if_empty(spec.image)},
        {"cpus", spec.cpus},
        {"memory_bytes", spec.memory_bytes},
        {"disk",
         {{"virtual_bytes", spec.disk.virtual_bytes}, {"used_bytes", used_bytes(files().disk)}}},
        {"autostart", spec.autostart.mode != spec::Autostart::off},
        {"autostart_mode", to_string(spec.autostart.mode)},
        {"autostart_order", spec.autostart.order},
        {"autostart_delay_seconds", spec.autostart.delay_seconds},
        {"restart", to_string(spec.restart)},
        {"restart_at", time_json(restart_at_)},
        {"accel", to_string(spec.accel)},
        {"machine", spec.machine},
        {"boot", to_string(spec.boot.mode)},
        {"networks",
         {{{"mode", to_string(spec.network.mode)},
           {"bridge", null_if_empty(spec.network.bridge)},
           {"mac", spec.network.mac},
           {"addresses", addresses},
           {"publish", publish_json(spec.network)}}}},
        {"ssh", ssh},
        {"pid", running_ ? Json(*pid()) : Json()},
        {"confinement", running_ ? record_.confinement : Json()},
        {"created_at", spec.created_at},
        {"started_at", null_if_empty(record_.started_at)},
        {"stages", record_.stages}};
}

Result<SshTarget> Vm::ssh_target() const {
    const auto& spec = record_.spec;
    if (!running_) {
        return Error{ErrorCode::wrong_state,
                     spec.name + " is " + std::string(lifecycle::to_string(machine_.state())),
                     "start it with noxsup start " + spec.name};
    }
    SshTarget target;
    target.user = spec.user;
    target.host_key_alias = "noxsup-" + spec.uuid;
    target.identity = environment_.home.identity();
    target.known_hosts = directory() / "known_hosts";
    if (spec.network.mode == spec::NetworkMode::user) {
        target.host = "127.0.0.1";
        target.port = spec.network.ssh_port;
    } else if (!running_->addresses.empty()) {
        target.host = running_->addresses.front().address.to_string();
    } else {
        return Error{ErrorCode::wrong_state, spec.name + " has no address yet",
                     "wait for it with noxsup wait " + spec.name + " --for ip"};
    }
    return target;
}

void Vm::changed() {
    publish_change();
    condition_.notify_all();
}

state::VmRecord Vm::current_record() const {
    auto record = record_;
    record.state = machine_.state();
    record.reason = machine_.reason();
    record.qemu.reset();
    if (running_) record.qemu = running_->identity;
    return record;
}

void Vm::save() {
    record_ = current_record();
    publish_change();
    constexpr std::string_view not_saved = "state-not-saved";
    std::erase(degraded_, not_saved);
    if (deleted_) return;
    stages_unsaved_ = false;
    if (const auto saved = environment_.store.save(record_); !saved) {
        // The VM goes on: its life lock and its socket tell a later supervisor what the record
        // cannot.
        log_error("the state of " + record_.spec.name + " was not saved: " + saved.error().message);
        degraded_.emplace_back(not_saved);
    }
}

void Vm::watch(const std::shared_ptr<Running>& running) {
    if (running->qmp) listen_to(*running->qmp);
    tasks_.spawn("exit of " + record_.spec.name, watch_exit(running));
    if (running->watcher)
        tasks_.spawn("addresses of " + record_.spec.name, watch_addresses(running));
}

void Vm::listen_to(qmp::Client& client) {
    std::weak_ptr<Vm> weak = weak_from_this();
    client.set_event_handler([weak](const qmp::Event& event) {
        if (const auto self = weak.lock()) self->on_event(event);
    });
}

boost::asio::awaitable<void> Vm::settled() {
    const auto self = shared_from_this();
    while (adopting_) co_await condition_.wait();
}

boost::asio::awaitable<void> Vm::watch_exit(std::shared_ptr<Running> running) {
    const auto self = shared_from_this();
    co_await wait_for_exit(running->pidfd.get());
    if (running->qmp) {
        // QEMU's last event says why; it is in the socket already, before the end of the stream.
        auto closing = [](Running& of) -> boost::asio::awaitable<Result<>> {
            co_await of.qmp->wait_closed();
            co_return Result<>();
        };
        Error late(ErrorCode::timeout, "QMP still open");
        auto closed = closing(*running);
        co_await with_deadline(std::move(closed), std::chrono::milliseconds(300), std::move(late));
    }
    on_exit(*running);
}

void Vm::on_exit(Running& running) {
    const auto& name = record_.spec.name;
    std::optional<ExitStatus> status;
    if (running.is_child) {
        if (auto reaped = reap(running.pidfd.get())) status = *reaped;
    }
    running.ended = true;
    if (was_killed_for_memory(status)) machine_.on_cause(Reason::oom);
    if (record_.saved_ram) {
        machine_.on_suspended();
    } else {
        machine_.on_exit(status ? &*status : nullptr);
    }
    log_info(name + " ended: " + (status ? status->describe() : std::string("not our child")) +
             ", " + std::string(lifecycle::to_string(machine_.reason())));
    if (running.console) last_console_ = running.console->last_lines(evidence_lines);
    last_qemu_ = launch::qemu_last_words(files().qemu_log, running.log_offset);
    running.qmp.reset();
    running.console.reset();
    running.watcher.reset();
    if (running_.get() == &running) running_.reset();
    ask_what_follows();
    if (const auto lock = launch::take_life_lock(files().lock)) launch::remove_sockets(files());
    if (environment_.cgroups != nullptr) environment_.cgroups->remove_leaf(record_.spec.id);
    save();
    changed();
}

bool Vm::was_killed_for_memory(const std::optional<ExitStatus>& status) const {
    // How QEMU ended is not known where it was no child of ours.
    const bool by_kill = !status || status->signal == SIGKILL;
    return by_kill && environment_.cgroups != nullptr &&
           environment_.cgroups->oom_kills(record_.spec.id) > 0;
}

void Vm::ask_what_follows() {
    if (!environment_.on_end) return;
    const lifecycle::End end{machine_.state(), machine_.reason(), machine_.ended_by_request()};
    heed(environment_.on_end(*this, end));
}

void Vm::heed(const lifecycle::Verdict& verdict) {
    restart_at_.reset();
    record_.restart_pending = verdict.next == lifecycle::Next::start;
    if (record_.restart_pending) restart_at_ = std::chrono::steady_clock::now() + verdict.delay;
    if (verdict.next == lifecycle::Next::give_up && !machine_.is_active()) machine_.on_crash_loop();
}

void Vm::follow(const lifecycle::Verdict& verdict) {
    const bool was_pending = record_.restart_pending;
    heed(verdict);
    const bool gave_up = verdict.next == lifecycle::Next::give_up;
    if (record_.restart_pending != was_pending || gave_up) save();
    changed();
}

boost::asio::awaitable<void> Vm::watch_addresses(std::shared_ptr<Running> running) {
    const auto self = shared_from_this();
    while (running->watcher) {
        auto next = co_await running->watcher->next();
        if (!next) {
            // A TAP goes before the end of its QEMU is seen.
            const bool ended = co_await wait_exit(running, std::chrono::seconds(1));
            if (!ended)
                log_warning(spec().name +
                            ": its addresses are not watched any more: " + next.error().message);
            co_return;
        }
        running->addresses = std::move(*next);
        changed();
    }
}

void Vm::on_event(const qmp::Event& event) {
    publish(event);
    const auto typed = qmp::parse_event(event);
    if (!typed) return log_warning(record_.spec.name + ": " + typed.error().message);
    if (const auto* shutdown = std::get_if<qmp::ShutdownEvent>(&*typed)) {
        if (const auto reason = reason_of(*shutdown); reason != Reason::none)
            machine_.on_cause(reason);
    } else if (std::holds_alternative<qmp::ResumeEvent>(*typed)) {
        machine_.on_running();
    } else if (std::holds_alternative<qmp::StopEvent>(*typed)) {
        machine_.on_paused(Reason::unknown);
    } else if (const auto* io = std::get_if<qmp::BlockIoErrorEvent>(&*typed)) {
        if (io->stopped) machine_.on_cause(io->no_space ? Reason::no_space : Reason::io_error);
        log_warning(record_.spec.name + ": disk error: " + io->reason);
    } else if (std::holds_alternative<qmp::ResetEvent>(*typed)) {
        on_guest_reset();
    } else if (std::holds_alternative<qmp::GuestPanickedEvent>(*typed)) {
        machine_.on_cause(Reason::guest_panic);
        if (running_) running_->panicked = true;
    }
    changed();
}

/// What was seen of the guest was of the boot before.
void Vm::on_guest_reset() {
    if (!running_) return;
    running_->banner_seen = false;
    running_->panicked = false;
    running_->kernel_seen = false;
    running_->console_tail.clear();
}

void Vm::on_console(std::string_view data) {
    constexpr std::string_view kernel_sign = "Linux version ";
    constexpr std::string_view panic_sign = "Kernel panic - not syncing";
    if (!running_) return;
    auto& running = *running_;
    running.console_tail += data;
    const std::string_view text = running.console_tail;
    if (!running.kernel_seen && text.find(kernel_sign) != text.npos) running.kernel_seen = true;
    if (!running.panicked && text.find(panic_sign) != text.npos) running.panicked = true;
    const auto keep = std::max(kernel_sign.size(), panic_sign.size()) - 1;
    if (running.console_tail.size() > keep) {
        running.console_tail.erase(0, running.console_tail.size() - keep);
    }
    changed();
}

Error Vm::with_evidence(Error error) const {
    const auto& console = running_ && running_->console
                              ? running_->console->last_lines(evidence_lines)
                              : last_console_;
    for (const auto& line : last_qemu_) error.evidence.push_back("qemu: " + line);
    for (const auto& line : console) error.evidence.push_back("console: " + line);
    return error;
}

std::optional<Error> Vm::failure_of_guest(const std::string& stage) const {
    const auto& name = record_.spec.name;
    if (running_ && !running_->panicked) return std::nullopt;
    Error error(ErrorCode::guest_failed, "",
                "look at noxsup logs " + name + " and noxsup status " + name);
    error.stage = stage;
    if (running_) {
        error.message = "the guest's kernel panicked; " + name + " is kept for inspection";
    } else if (machine_.state() == State::failed && machine_.reason() != Reason::guest_panic) {
        error.code = ErrorCode::qemu_failed;
        error.message = "QEMU ended (" + std::string(lifecycle::to_string(machine_.reason())) + ")";
    } else {
        error.message =
            name + " stopped (" + std::string(lifecycle::to_string(machine_.reason())) + ")";
    }
    return with_evidence(std::move(error));
}

boost::asio::awaitable<bool> Vm::wait_exit(std::shared_ptr<Running> running,
                                           std::chrono::milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!running->ended) {
        const bool in_time = co_await condition_.wait_until(deadline);
        if (!in_time) break;
    }
    co_return running->ended;
}

Result<UniqueFd> Vm::attach_console() {
    if (!running_ || !running_->console) {
        return Error{ErrorCode::wrong_state,
                     record_.spec.name + " has no open console: it is " +
                         std::string(lifecycle::to_string(machine_.state())),
                     "start it with noxsup start " + record_.spec.name};
    }
    return running_->console->attach();
}

Result<> Vm::rename(const std::string& name) {
    if (machine_.is_active() || deleted_) {
        return Error{ErrorCode::wrong_state,
                     "cannot rename " + spec().name + ": it is " +
                         std::string(lifecycle::to_string(machine_.state())),
                     "stop it first: noxsup stop " + spec().name};
    }
    auto renamed = current_record();
    renamed.spec.name = name;
    NOXSUP_TRY(environment_.store.rename(spec().name, renamed));
    record_ = std::move(renamed);
    changed();
    return {};
}

boost::asio::awaitable<Result<>> Vm::change(Edit edit, std::vector<std::string> for_next_qemu) {
    const auto self = shared_from_this();
    co_await settled();
    // Its command line is being made of what there is.
    while (machine_.state() == State::starting) co_await condition_.wait();
    auto changed_record = current_record();
    edit(changed_record.spec);
    NOXSUP_CO_TRY(spec::validate(changed_record.spec));
    if (machine_.is_active()) {
        for (auto& key : for_next_qemu) {
            if (std::ranges::find(changed_record.pending, key) == changed_record.pending.end())
                changed_record.pending.push_back(std::move(key));
        }
    }
    NOXSUP_CO_TRY(environment_.store.save(changed_record));
    record_ = std::move(changed_record);
    changed();
    co_return Result<>();
}

Result<> Vm::mark_deleted() {
    if (machine_.is_active()) {
        return Error{ErrorCode::wrong_state, record_.spec.name + " is still running"};
    }
    deleted_ = true;
    return {};
}

void Vm::release() {
    if (stages_unsaved_) save();
    tasks_.cancel();
    if (!running_) return;
    running_->qmp.reset();
    running_->console.reset();
    running_->watcher.reset();
}

boost::asio::awaitable<void> Vm::join() {
    co_await tasks_.join();
}

void Vm::remember_stages(Json stages) {
    record_.stages = std::move(stages);
    stages_unsaved_ = true;
}

void Vm::trim_logs() const {
    if (const auto trimmed = bound_log(files().qemu_log); !trimmed)
        log_warning(trimmed.error().message);
}

}  // namespace noxsup::vm
