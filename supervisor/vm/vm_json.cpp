// A VM as cli.md's JSON has it.

#include <algorithm>

#include "supervisor/base/disk_use.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/base/time.hpp"
#include "supervisor/vm/vm_running.hpp"

namespace noxsup::vm {
namespace {

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

Json Vm::to_json() const {
    const auto& spec = record_.spec;
    auto degraded = degraded_;
    const bool behind_nat = running_ && std::ranges::any_of(running_->nics, [](const auto& nic) {
                                return nic->nat != nullptr;
                            });
    if (behind_nat && environment_.nat_notes) {
        const auto notes = environment_.nat_notes();
        degraded.insert(degraded.end(), notes.begin(), notes.end());
    }
    if (!record_.pending.empty())
        degraded.push_back("restart-needed: " + noxsup::join(record_.pending, ", "));
    if (record_.snapshot_work && !snapshotting_)
        degraded.push_back("snapshot-unfinished: " + record_.snapshot_work->tag.substr(
                                                         0, record_.snapshot_work->tag.rfind('.')));
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
        {"kernel", null_if_empty(spec.boot.kernel_name)},
        {"template", null_if_empty(spec.warm_template)},
        {"networks", networks_json()},
        {"ssh", ssh},
        {"pid", running_ ? Json(*pid()) : Json()},
        {"confinement", running_ ? record_.confinement : Json()},
        {"created_at", spec.created_at},
        {"started_at", null_if_empty(record_.started_at)},
        {"stages", record_.stages}};
}

}  // namespace noxsup::vm
