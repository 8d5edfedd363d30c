#include "supervisor/daemon/registry.hpp"

#include <algorithm>
#include <set>

#include "supervisor/base/async.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/launch/life_lock.hpp"
#include "supervisor/state/template_store.hpp"

namespace noxsup::daemon {
namespace {

/// The keys of cli.md for a VM of which little is known, so that every consumer finds them.
Json sparse_vm(std::string_view name, lifecycle::State state) {
    return {{"name", name},
            {"uuid", nullptr},
            {"state", lifecycle::to_string(state)},
            {"reason", nullptr},
            {"degraded", Json::array()},
            {"arch", nullptr},
            {"os", nullptr},
            {"image", nullptr},
            {"cpus", nullptr},
            {"memory_bytes", nullptr},
            {"disk", {{"virtual_bytes", nullptr}, {"used_bytes", nullptr}}},
            {"autostart", nullptr},
            {"autostart_mode", nullptr},
            {"autostart_order", nullptr},
            {"autostart_delay_seconds", nullptr},
            {"restart", nullptr},
            {"restart_at", nullptr},
            {"accel", nullptr},
            {"machine", nullptr},
            {"boot", nullptr},
            {"kernel", nullptr},
            {"template", nullptr},
            {"networks", Json::array()},
            {"ssh", {{"user", nullptr}, {"host", nullptr}, {"port", nullptr}}},
            {"pid", nullptr},
            {"confinement", nullptr},
            {"created_at", nullptr},
            {"started_at", nullptr},
            {"stages", Json::array()}};
}

Json other_json(const state::StoredVm& stored) {
    const bool foreign = stored.kind == state::RecordKind::foreign;
    auto json =
        sparse_vm(stored.name, foreign ? lifecycle::State::foreign : lifecycle::State::damaged);
    if (!stored.problem.empty()) json["degraded"].push_back(stored.problem);
    return json;
}

Error other_error(const state::StoredVm& stored) {
    if (stored.kind == state::RecordKind::foreign) {
        return {ErrorCode::vm_foreign,
                stored.name + " is a VM of another tool and is left untouched",
                "manage it with the tool that made it"};
    }
    return {ErrorCode::vm_damaged,
            "the record of " + stored.name + " is damaged: " + stored.problem,
            "its disk is whole; put back a copy of its meta.json, or remove the VM's directory"};
}

/// As create makes them: the name of a VM's runtime directory.
bool is_short_id(std::string_view name) {
    return name.size() == 8 && name.find_first_not_of("0123456789abcdef") == name.npos;
}

void quarantine(state::StoredVm& vm, std::string problem) {
    vm.kind = state::RecordKind::damaged;
    vm.record.reset();
    vm.problem = std::move(problem);
}

/// Copied records, which the checksum cannot tell: an id names sockets and TAPs, a UUID host keys,
/// so of two VMs with the same one only one is served. A VM whose QEMU lives goes before others.
void quarantine_copies(const state::Home& home, std::vector<state::StoredVm>& stored) {
    std::stable_partition(stored.begin(), stored.end(), [&home](const state::StoredVm& vm) {
        const auto alive = launch::life_lock_held(home.vm(vm.name) / "lock");
        return alive && *alive;
    });
    std::map<std::string, std::string> ids, uuids, macs;
    for (auto& vm : stored) {
        if (vm.kind != state::RecordKind::ours) continue;
        const auto& spec = vm.record->spec;
        const auto same_id = ids.find(spec.id);
        const auto same_uuid = uuids.find(spec.uuid);
        if (same_id != ids.end() || same_uuid != uuids.end()) {
            const bool by_id = same_id != ids.end();
            const auto& other = by_id ? same_id->second : same_uuid->second;
            quarantine(vm, std::string("its ") + (by_id ? "id" : "uuid") + " is that of " + other);
            continue;
        }
        ids[spec.id] = vm.name;
        uuids[spec.uuid] = vm.name;
        for (const auto& network : spec.networks) {
            const auto [same_mac, is_new] = macs.emplace(network.mac, vm.name);
            // Two networks may know the same address; on one it is trouble, which the user is told.
            if (!is_new && vm.problem.empty())
                vm.problem = "its MAC address is that of " + same_mac->second;
        }
    }
}

/// A VM that comes or goes, for the event hub.
vm::Event event_of(vm::EventKind kind, std::string name, std::string uuid) {
    vm::Event event;
    event.kind = kind;
    event.vm = std::move(name);
    event.uuid = std::move(uuid);
    return event;
}

Error not_found(std::string_view name) {
    return {ErrorCode::vm_not_found, "there is no VM named " + std::string(name),
            "see noxsup list"};
}

}  // namespace

Registry::Registry(vm::Environment& environment) : environment_(environment) {}

Result<> Registry::load() {
    NOXSUP_TRY_VALUE(auto stored, environment_.store.load_all());
    quarantine_copies(environment_.home, stored);
    for (auto& vm : stored) {
        if (vm.kind == state::RecordKind::ours) {
            const auto name = vm.name;
            const auto known =
                std::make_shared<vm::Vm>(environment_, std::move(*vm.record), vm.problem);
            known->expect_adoption();
            vms_[name] = known;
        } else {
            if (vm.kind == state::RecordKind::damaged) log_warning(vm.name + ": " + vm.problem);
            others_[vm.name] = std::move(vm);
        }
    }
    sweep_runtime();
    return {};
}

void Registry::sweep_runtime() const {
    // A damaged record does not tell its id; its QEMU may live.
    const auto is_damaged = [](const auto& other) {
        return other.second.kind == state::RecordKind::damaged;
    };
    if (std::ranges::any_of(others_, is_damaged)) return;
    std::set<std::string> ids;
    for (const auto& [name, vm] : vms_) ids.insert(vm->spec().id);
    std::error_code failure;
    std::vector<std::filesystem::path> left;
    for (std::filesystem::directory_iterator it(environment_.home.runtime(), failure), end;
         !failure && it != end; it.increment(failure)) {
        std::error_code ignored;
        const auto name = it->path().filename().string();
        if (std::filesystem::is_directory(it->symlink_status(ignored)) && is_short_id(name) &&
            !ids.contains(name))
            left.push_back(it->path());
    }
    for (const auto& path : left) {
        if (const auto removed = state::remove_tree(path); !removed)
            log_warning(removed.error().message);
    }
}

boost::asio::awaitable<void> Registry::adopt_all() {
    TaskGroup tasks(environment_.executor);
    for (const auto& [name, vm] : vms_) tasks.spawn("adoption of " + name, vm->adopt());
    co_await tasks.join();
}

boost::asio::awaitable<void> Registry::refresh_all() {
    TaskGroup tasks(environment_.executor);
    for (const auto& [name, vm] : vms_) {
        if (vm->is_active()) tasks.spawn("heartbeat of " + name, vm->refresh());
    }
    co_await tasks.join();
}

Result<std::shared_ptr<vm::Vm>> Registry::find(std::string_view name) const {
    if (const auto found = vms_.find(name); found != vms_.end()) return found->second;
    if (const auto other = others_.find(name); other != others_.end())
        return other_error(other->second);
    if (creating_.contains(name)) {
        return Error{ErrorCode::wrong_state, std::string(name) + " is still being created",
                     "wait until noxsup create has ended"};
    }
    return not_found(name);
}

Json Registry::list() const {
    std::map<std::string, Json> sorted;
    for (const auto& [name, vm] : vms_) sorted[name] = vm->to_json();
    for (const auto& [name, stored] : others_) sorted[name] = other_json(stored);
    for (const auto& [name, json] : creating_) sorted[name] = json;
    auto list = Json::array();
    for (auto& [name, json] : sorted) list.push_back(std::move(json));
    return list;
}

Result<Json> Registry::status(std::string_view name) const {
    if (const auto found = vms_.find(name); found != vms_.end()) return found->second->to_json();
    if (const auto other = others_.find(name); other != others_.end())
        return other_json(other->second);
    if (const auto creating = creating_.find(name); creating != creating_.end())
        return creating->second;
    return not_found(name);
}

std::vector<std::shared_ptr<vm::Vm>> Registry::all() const {
    std::vector<std::shared_ptr<vm::Vm>> list;
    for (const auto& [name, vm] : vms_) list.push_back(vm);
    return list;
}

Result<std::set<std::string>> Registry::used_digests() const {
    const auto bases = overlay_bases();
    if (bases.unknown) return *bases.unknown;
    std::set<std::string> digests;
    for (const auto& [digest, name] : bases.users) digests.insert(digest);
    return digests;
}

OverlayBases Registry::overlay_bases() const {
    std::set<std::string> names;
    for (const auto& [name, vm] : vms_) names.insert(name);
    auto bases = find_overlay_bases(environment_.home.vms(), names);
    for (const auto& [name, vm] : vms_) {
        const auto& digest = vm->spec().disk.base_digest;
        if (!digest.empty()) bases.users.emplace(digest, name);
    }
    // What its guest boots lies beside the image that the template was booted from.
    const auto templates = state::TemplateStore(environment_.home).list();
    if (!templates) bases.unknown = templates.error();
    if (!templates) return bases;
    for (const auto& made : templates->templates) {
        for (const auto& digest : {made.disk_digest, made.spec.disk.base_digest})
            bases.users.emplace(digest, "template " + made.id);
    }
    return bases;
}

bool Registry::has_mac(std::string_view mac) const {
    for (const auto& [name, vm] : vms_) {
        const auto cards = vm->cards();
        if (std::ranges::find(cards, mac, &spec::Network::mac) != cards.end()) return true;
    }
    for (const auto& [name, json] : creating_) {
        for (const auto& network : json["networks"]) {
            if (network["mac"] == Json(mac)) return true;
        }
    }
    return false;
}

std::optional<std::string> Registry::owner_of_address(std::string_view address) const {
    for (const auto& [name, vm] : vms_) {
        for (const auto& network : vm->cards()) {
            const auto& fixed = network.fixed_addresses;
            if (std::ranges::find(fixed, address) != fixed.end()) return name;
        }
    }
    return std::nullopt;
}

bool Registry::has_qemu(pid_t pid) const {
    return std::ranges::any_of(
        vms_, [pid](const auto& entry) { return entry.second->pid() == std::optional(pid); });
}

bool Registry::exists(std::string_view name) const {
    return vms_.contains(name) || others_.contains(name) || creating_.contains(name);
}

Result<Registry::NameClaim> Registry::claim(const std::string& name) {
    std::error_code ignored;
    if (exists(name) || std::filesystem::exists(environment_.home.vm(name), ignored)) {
        return Error{ErrorCode::already_exists, "a VM named " + name + " exists already",
                     "choose another name, or remove it with noxsup delete " + name};
    }
    creating_[name] = sparse_vm(name, lifecycle::State::creating);
    return NameClaim(*this, name);
}

Registry::NameClaim::~NameClaim() {
    if (registry_ == nullptr) return;
    registry_->creating_.erase(name_);
    if (uuid_.empty()) return;
    auto event = event_of(vm::EventKind::deleted, name_, uuid_);
    event.previous = lifecycle::State::creating;
    registry_->environment_.events.publish(std::move(event));
}

void Registry::NameClaim::describe(const spec::VmSpec& spec) {
    if (uuid_.empty()) {
        uuid_ = spec.uuid;
        auto event = event_of(vm::EventKind::state, name_, uuid_);
        event.state = lifecycle::State::creating;
        registry_->environment_.events.publish(std::move(event));
    }
    auto& json = registry_->creating_[name_];
    json["uuid"] = spec.uuid;
    json["arch"] = to_string(spec.arch);
    json["os"] = spec.os;
    json["image"] = spec.image;
    json["cpus"] = spec.cpus;
    json["memory_bytes"] = spec.memory_bytes;
    json["disk"]["virtual_bytes"] = spec.disk.virtual_bytes;
    json["created_at"] = spec.created_at;
    json["networks"] = Json::array();
    for (const auto& network : spec.networks)
        json["networks"].push_back(vm::network_json(network, {}));
}

std::shared_ptr<vm::Vm> Registry::add(state::VmRecord record, NameClaim& claim) {
    creating_.erase(claim.name_);
    claim.registry_ = nullptr;
    const auto name = record.spec.name;
    auto event = event_of(vm::EventKind::state, name, record.spec.uuid);
    event.state = record.state;
    event.reason = record.reason;
    event.previous = lifecycle::State::creating;
    auto vm = std::make_shared<vm::Vm>(environment_, std::move(record));
    vms_[name] = vm;
    environment_.events.publish(std::move(event));
    return vm;
}

Result<std::shared_ptr<vm::Vm>> Registry::rename(const std::string& name,
                                                 const std::string& new_name) {
    NOXSUP_TRY(spec::check_vm_name(new_name));
    NOXSUP_TRY_VALUE(const auto vm, find(name));
    NOXSUP_TRY_VALUE(const auto claim, this->claim(new_name));
    NOXSUP_TRY(vm->rename(new_name));
    vms_.erase(name);
    vms_[new_name] = vm;
    return vm;
}

void Registry::remove(std::string_view name) {
    const auto found = vms_.find(name);
    if (found == vms_.end()) return;
    auto event =
        event_of(vm::EventKind::deleted, found->second->spec().name, found->second->spec().uuid);
    event.reason = lifecycle::Reason::user;
    event.previous = found->second->state();
    vms_.erase(found);
    environment_.events.publish(std::move(event));
}

}  // namespace noxsup::daemon
