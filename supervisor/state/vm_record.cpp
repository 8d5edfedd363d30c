#include "supervisor/state/vm_record.hpp"

#include <sys/stat.h>

#include "supervisor/base/checksum.hpp"

namespace noxsup::state {
namespace {

constexpr int format_version = 1;

/// A state that a record may name: the others are of VMs without one.
Result<lifecycle::State> stored_state(const std::string& word) {
    NOXSUP_TRY_VALUE(const auto state, lifecycle::state_from_string(word));
    using lifecycle::State;
    if (state == State::creating || state == State::damaged || state == State::foreign)
        return Error{ErrorCode::protocol_error, "no record has the state \"" + word + "\""};
    return state;
}

/// [{name, seconds}], or what is wrong with it.
Result<Json> stored_stages(const Json& body) {
    NOXSUP_TRY_VALUE(auto stages, json_member_or<Json>(body, "stages", Json::array()));
    if (!stages.is_array())
        return Error{ErrorCode::protocol_error, "member \"stages\" is not an array"};
    for (const auto& stage : stages) {
        NOXSUP_TRY(json_member<std::string>(stage, "name"));
        NOXSUP_TRY(json_member<double>(stage, "seconds"));
    }
    return stages;
}

Result<std::vector<Snapshot>> stored_snapshots(const Json& body) {
    NOXSUP_TRY_VALUE(const auto list, json_member_or<Json>(body, "snapshots", Json::array()));
    if (!list.is_array())
        return Error{ErrorCode::protocol_error, "member \"snapshots\" is not an array"};
    std::vector<Snapshot> snapshots;
    for (const auto& json : list) {
        NOXSUP_TRY_VALUE(auto snapshot, snapshot_from_json(json));
        snapshots.push_back(std::move(snapshot));
    }
    return snapshots;
}

Result<VmRecord> record_from_body(const Json& body) {
    VmRecord record;
    NOXSUP_TRY_VALUE(const auto spec_json, json_member<Json>(body, "spec"));
    NOXSUP_TRY_VALUE(record.spec, spec::from_json(spec_json));
    NOXSUP_TRY_VALUE(const auto state, json_member<std::string>(body, "state"));
    NOXSUP_TRY_VALUE(record.state, stored_state(state));
    NOXSUP_TRY_VALUE(const auto reason, json_member_or<std::string>(body, "reason", ""));
    NOXSUP_TRY_VALUE(record.reason, lifecycle::reason_from_string(reason));
    NOXSUP_TRY_VALUE(record.restart_pending, json_member_or<bool>(body, "restart_pending", false));
    NOXSUP_TRY_VALUE(record.started_at, json_member_or<std::string>(body, "started_at", ""));
    NOXSUP_TRY_VALUE(record.stages, stored_stages(body));
    NOXSUP_TRY_VALUE(record.pending, json_member_or<std::vector<std::string>>(body, "pending", {}));
    NOXSUP_TRY_VALUE(const auto saved_ram, json_member_or<Json>(body, "saved_ram", Json()));
    if (!saved_ram.is_null()) {
        NOXSUP_TRY_VALUE(record.saved_ram, saved_ram_from_json(saved_ram));
    }
    NOXSUP_TRY_VALUE(record.boot_mark, json_member_or<std::string>(body, "boot_mark", ""));
    NOXSUP_TRY_VALUE(record.identity_pending,
                     json_member_or<bool>(body, "identity_pending", false));
    NOXSUP_TRY_VALUE(record.snapshots, stored_snapshots(body));
    NOXSUP_TRY_VALUE(const auto work, json_member_or<Json>(body, "snapshot_work", Json()));
    if (!work.is_null()) {
        NOXSUP_TRY_VALUE(record.snapshot_work, snapshot_work_from_json(work));
    }
    NOXSUP_TRY_VALUE(const auto qemu, json_member_or<Json>(body, "qemu", Json()));
    NOXSUP_TRY_VALUE(record.confinement, json_member_or<Json>(body, "confinement", Json()));
    if (body.contains("uid")) {
        NOXSUP_TRY_VALUE(record.uid, json_member<uid_t>(body, "uid"));
    }
    if (!qemu.is_null()) {
        NOXSUP_TRY_VALUE(record.qemu, launch::identity_from_json(qemu));
    }
    return record;
}

ParsedRecord damaged(std::string problem) {
    ParsedRecord parsed;
    parsed.problem = std::move(problem);
    return parsed;
}

}  // namespace

std::string mark_of_disk(const std::filesystem::path& disk) {
    struct stat info {};
    if (::stat(disk.c_str(), &info) != 0) return {};
    return std::to_string(info.st_ino) + " " + std::to_string(info.st_size) + " " +
           std::to_string(info.st_mtim.tv_sec) + "." + std::to_string(info.st_mtim.tv_nsec);
}

std::string to_text(const VmRecord& record) {
    Json body{{"spec", spec::to_json(record.spec)},
              {"state", lifecycle::to_string(record.state)},
              {"started_at", record.started_at},
              {"stages", record.stages}};
    if (record.reason != lifecycle::Reason::none)
        body["reason"] = lifecycle::to_string(record.reason);
    if (record.restart_pending) body["restart_pending"] = true;
    if (record.saved_ram) body["saved_ram"] = to_json(*record.saved_ram);
    if (!record.boot_mark.empty()) body["boot_mark"] = record.boot_mark;
    if (record.identity_pending) body["identity_pending"] = true;
    for (const auto& snapshot : record.snapshots) body["snapshots"].push_back(to_json(snapshot));
    if (record.snapshot_work) body["snapshot_work"] = to_json(*record.snapshot_work);
    if (!record.pending.empty()) body["pending"] = record.pending;
    if (record.uid) body["uid"] = *record.uid;
    if (!record.confinement.is_null()) body["confinement"] = record.confinement;
    if (record.qemu) body["qemu"] = launch::to_json(*record.qemu);
    return seal(body);
}

std::string seal(const Json& body) {
    const Json file{
        {"noxsup_vm", format_version}, {"checksum", json_checksum(body)}, {"body", body}};
    return file.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

ParsedRecord parse_record(std::string_view text) {
    const auto file = parse_json(text);
    if (!file) return damaged(file.error().message);
    if (!file->is_object()) return damaged("it is not a JSON object");
    if (!file->contains("noxsup_vm")) {
        // A file of ours that lost its marker to a flipped bit still has the other two members.
        if (file->contains("checksum") && file->contains("body"))
            return damaged("its marker is missing");
        ParsedRecord parsed;
        parsed.kind = RecordKind::foreign;
        return parsed;
    }
    const auto version = json_member<int>(*file, "noxsup_vm");
    if (!version || *version != format_version)
        return damaged("it is of another version of noxsup");
    const auto checksum = json_member<std::string>(*file, "checksum");
    const auto body = json_member<Json>(*file, "body");
    if (!checksum || !body) return damaged("it has no checksum or no body");
    if (*checksum != json_checksum(*body)) return damaged("its checksum does not match");
    auto record = record_from_body(*body);
    if (!record) return damaged(record.error().message);
    ParsedRecord parsed;
    parsed.kind = RecordKind::ours;
    parsed.record = std::move(*record);
    return parsed;
}

}  // namespace noxsup::state
