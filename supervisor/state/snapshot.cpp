#include "supervisor/state/snapshot.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace noxsup::state {
namespace {

constexpr std::size_t max_name = 63;
constexpr std::size_t tag_digits = 8;

bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_snapshot_name(std::string_view name) {
    const auto allowed = [](char c) {
        return is_letter_or_digit(c) || c == '.' || c == '_' || c == '-';
    };
    return !name.empty() && name.size() <= max_name && is_letter_or_digit(name.front()) &&
           std::ranges::all_of(name, allowed);
}

/// A tag names files and goes into arguments; what a record says of it is checked.
Result<std::string> tag_from_json(const Json& json) {
    NOXSUP_TRY_VALUE(auto tag, json_member<std::string>(json, "tag"));
    const auto dot = tag.rfind('.');
    const bool whole = dot != std::string::npos &&
                       is_snapshot_name(std::string_view(tag).substr(0, dot)) &&
                       tag.size() == dot + 1 + tag_digits &&
                       tag.find_first_not_of("0123456789abcdef", dot + 1) == std::string::npos;
    if (!whole) return Error{ErrorCode::protocol_error, "a snapshot's tag is none of ours"};
    return tag;
}

constexpr std::array step_words{
    std::pair{SnapshotStep::create, std::string_view("create")},
    std::pair{SnapshotStep::restore, std::string_view("restore")},
    std::pair{SnapshotStep::remove, std::string_view("remove")},
};

}  // namespace

Result<> check_snapshot_name(std::string_view name) {
    if (is_snapshot_name(name)) return {};
    return Error{ErrorCode::invalid_name, "not a name for a snapshot: " + std::string(name),
                 "a letter or digit, then letters, digits and . _ -, 63 at the most"};
}

std::string next_snapshot_name(const std::vector<Snapshot>& snapshots) {
    for (std::size_t number = 1;; ++number) {
        auto name = "snap" + std::to_string(number);
        if (std::ranges::find(snapshots, name, &Snapshot::name) == snapshots.end()) return name;
    }
}

Result<std::size_t> find_snapshot(const std::vector<Snapshot>& snapshots, std::string_view name,
                                  std::string_view vm) {
    const auto found = std::ranges::find(snapshots, name, &Snapshot::name);
    if (found != snapshots.end()) return static_cast<std::size_t>(found - snapshots.begin());
    return Error{ErrorCode::vm_not_found,
                 std::string(vm) + " has no snapshot named " + std::string(name),
                 "see noxsup snapshot ls " + std::string(vm)};
}

std::string_view consistency_of(const Snapshot& snapshot) {
    using lifecycle::State;
    if (snapshot.state == State::suspended) return "suspended";
    if (snapshot.ram) return "ram";
    if (snapshot.state != State::running && snapshot.state != State::paused) return "off";
    return snapshot.frozen ? "frozen" : "crash";
}

Json to_json(const SavedRam& ram) {
    Json json{{"key", ram.key}, {"saved_at", ram.saved_at}};
    if (!ram.addresses.empty()) json["addresses"] = ram.addresses;
    return json;
}

Result<SavedRam> saved_ram_from_json(const Json& json) {
    SavedRam saved;
    NOXSUP_TRY_VALUE(saved.key, json_member<std::vector<std::string>>(json, "key"));
    NOXSUP_TRY_VALUE(saved.saved_at, json_member<std::string>(json, "saved_at"));
    NOXSUP_TRY_VALUE(const auto addresses, json_member_or<Json>(json, "addresses", Json::object()));
    if (!addresses.is_object())
        return Error{ErrorCode::protocol_error, "\"addresses\" is not an object"};
    for (const auto& [mac, list] : addresses.items()) {
        NOXSUP_TRY_VALUE(saved.addresses[mac],
                         json_member<std::vector<std::string>>(addresses, mac));
    }
    return saved;
}

Json to_json(const Snapshot& snapshot) {
    Json json{{"name", snapshot.name},
              {"tag", snapshot.tag},
              {"created_at", snapshot.created_at},
              {"state", lifecycle::to_string(snapshot.state)},
              {"cpus", snapshot.cpus},
              {"memory_bytes", snapshot.memory_bytes},
              {"disk_virtual_bytes", snapshot.disk_virtual_bytes},
              {"disk_used_bytes", snapshot.disk_used_bytes},
              {"files_bytes", snapshot.files_bytes},
              {"firmware_vars", snapshot.firmware_vars}};
    if (!snapshot.comment.empty()) json["comment"] = snapshot.comment;
    if (snapshot.frozen) json["frozen"] = true;
    if (snapshot.ram) json["ram"] = to_json(*snapshot.ram);
    return json;
}

Result<Snapshot> snapshot_from_json(const Json& json) {
    Snapshot snapshot;
    NOXSUP_TRY_VALUE(snapshot.name, json_member<std::string>(json, "name"));
    if (const auto valid = check_snapshot_name(snapshot.name); !valid)
        return Error{ErrorCode::protocol_error, valid.error().message};
    NOXSUP_TRY_VALUE(snapshot.tag, tag_from_json(json));
    NOXSUP_TRY_VALUE(snapshot.created_at, json_member<std::string>(json, "created_at"));
    NOXSUP_TRY_VALUE(snapshot.comment, json_member_or<std::string>(json, "comment", ""));
    NOXSUP_TRY_VALUE(const auto state, json_member<std::string>(json, "state"));
    NOXSUP_TRY_VALUE(snapshot.state, lifecycle::state_from_string(state));
    NOXSUP_TRY_VALUE(snapshot.frozen, json_member_or<bool>(json, "frozen", false));
    NOXSUP_TRY_VALUE(snapshot.cpus, json_member<unsigned>(json, "cpus"));
    NOXSUP_TRY_VALUE(snapshot.memory_bytes, json_member<std::uint64_t>(json, "memory_bytes"));
    NOXSUP_TRY_VALUE(snapshot.disk_virtual_bytes,
                     json_member<std::uint64_t>(json, "disk_virtual_bytes"));
    NOXSUP_TRY_VALUE(snapshot.disk_used_bytes, json_member<std::uint64_t>(json, "disk_used_bytes"));
    NOXSUP_TRY_VALUE(snapshot.files_bytes, json_member<std::uint64_t>(json, "files_bytes"));
    NOXSUP_TRY_VALUE(snapshot.firmware_vars, json_member<bool>(json, "firmware_vars"));
    NOXSUP_TRY_VALUE(const auto ram, json_member_or<Json>(json, "ram", Json()));
    if (!ram.is_null()) {
        NOXSUP_TRY_VALUE(snapshot.ram, saved_ram_from_json(ram));
    }
    return snapshot;
}

Json to_json(const SnapshotWork& work) {
    const auto* word =
        std::ranges::find(step_words, work.step, &decltype(step_words)::value_type::first);
    return {{"step", word->second},
            {"tag", work.tag},
            {"resume", work.resume},
            {"thaw", work.thaw},
            {"ram", work.ram}};
}

Result<SnapshotWork> snapshot_work_from_json(const Json& json) {
    SnapshotWork work;
    NOXSUP_TRY_VALUE(const auto word, json_member<std::string>(json, "step"));
    const auto* step = std::ranges::find(step_words, std::string_view(word),
                                         &decltype(step_words)::value_type::second);
    if (step == step_words.end())
        return Error{ErrorCode::protocol_error, "no step of a snapshot is called \"" + word + "\""};
    work.step = step->first;
    NOXSUP_TRY_VALUE(work.tag, tag_from_json(json));
    NOXSUP_TRY_VALUE(work.resume, json_member_or<bool>(json, "resume", false));
    NOXSUP_TRY_VALUE(work.thaw, json_member_or<bool>(json, "thaw", false));
    NOXSUP_TRY_VALUE(work.ram, json_member_or<bool>(json, "ram", false));
    return work;
}

}  // namespace noxsup::state
