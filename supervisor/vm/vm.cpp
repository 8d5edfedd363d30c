#include "supervisor/vm/vm.hpp"

#include <algorithm>
#include <array>

#include "supervisor/base/log.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/vm/bounded_log.hpp"
#include "supervisor/vm/vm_running.hpp"

namespace noxsup::vm {
namespace {

using lifecycle::Reason;
using lifecycle::State;

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
    files.has_guest_port = spec.boot.follow;
    files.qemu_log = here / "qemu.log";
    files.lock = here / "lock";
    files.runtime_dir = environment_.home.runtime_of(spec.id);
    return files;
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
    const auto endpoint = guest_ssh();
    if (!endpoint && !is_reached_from_host(spec)) {
        return Error{ErrorCode::wrong_state,
                     "this host does not reach " + spec.name + " over its macvtap",
                     "noxsup ip " + spec.name + " tells the address, which other hosts reach"};
    }
    if (!endpoint) {
        return Error{ErrorCode::wrong_state, spec.name + " has no address yet",
                     "wait for it with noxsup wait " + spec.name + " --for ip"};
    }
    target.host = endpoint->host;
    target.port = endpoint->port;
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

boost::asio::awaitable<void> Vm::settled() {
    const auto self = shared_from_this();
    while (adopting_) co_await condition_.wait();
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
    NOXSUP_TRY(check_not_saving());
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
    co_return keep(edit, std::move(for_next_qemu));
}

/// On disk first; nothing is changed when that fails.
Result<> Vm::keep(const Edit& edit, std::vector<std::string> for_next_qemu) {
    auto changed_record = current_record();
    edit(changed_record.spec);
    NOXSUP_TRY(spec::validate(changed_record.spec));
    if (machine_.is_active()) {
        for (auto& key : for_next_qemu) {
            if (std::ranges::find(changed_record.pending, key) == changed_record.pending.end())
                changed_record.pending.push_back(std::move(key));
        }
    }
    NOXSUP_TRY(environment_.store.save(changed_record));
    record_ = std::move(changed_record);
    changed();
    return {};
}

Result<> Vm::mark_deleted() {
    // Another deletion came first while this one waited for QEMU's end; a VM that has the name by
    // now is not this one.
    if (deleted_) {
        return Error{ErrorCode::vm_not_found, record_.spec.name + " has been deleted meanwhile",
                     "see noxsup list"};
    }
    if (machine_.is_active()) {
        return Error{ErrorCode::wrong_state, record_.spec.name + " is still running"};
    }
    NOXSUP_TRY(check_not_saving());
    deleted_ = true;
    return {};
}

void Vm::release() {
    if (stages_unsaved_) save();
    tasks_.cancel();
    if (!running_) return;
    running_->qmp.reset();
    running_->console.reset();
    for (const auto& nic : running_->nics) nic->let_go();
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
