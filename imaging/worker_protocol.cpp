#include "imaging/worker_protocol.hpp"

#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

constexpr std::size_t max_evidence_lines = 20;
constexpr std::size_t max_text = 4096;

std::string safe(std::string text) {
    if (text.size() > max_text) text.resize(max_text);
    return escape_for_terminal(text);
}

Result<std::chrono::seconds> seconds_member(const Json& json, std::string_view key) {
    NOXSUP_TRY_VALUE(const auto value, json_member<std::uint32_t>(json, key));
    return std::chrono::seconds(value);
}

}  // namespace

Json to_json(const FetchRequest& request) {
    Json json;
    json["url"] = request.url;
    json["output_fd"] = request.output_fd;
    json["state_fd"] = request.state_fd;
    json["max_bytes"] = request.max_bytes;
    json["allow_http"] = request.allow_http;
    json["ca_file"] = request.ca_file;
    json["text"] = request.text;
    json["page"] = request.page;
    json["connect_timeout"] = request.connect_timeout.count();
    json["stall_timeout"] = request.stall_timeout.count();
    json["retry_delay_ms"] = request.retry_delay.count();
    json["attempts"] = request.attempts;
    return json;
}

Result<FetchRequest> fetch_request_from_json(const Json& json) {
    FetchRequest request;
    NOXSUP_TRY_VALUE(request.url, json_member<std::string>(json, "url"));
    NOXSUP_TRY_VALUE(request.output_fd, json_member<int>(json, "output_fd"));
    NOXSUP_TRY_VALUE(request.state_fd, json_member<int>(json, "state_fd"));
    NOXSUP_TRY_VALUE(request.max_bytes, json_member<std::uint64_t>(json, "max_bytes"));
    NOXSUP_TRY_VALUE(request.allow_http, json_member<bool>(json, "allow_http"));
    NOXSUP_TRY_VALUE(request.ca_file, json_member<std::string>(json, "ca_file"));
    NOXSUP_TRY_VALUE(request.text, json_member<bool>(json, "text"));
    NOXSUP_TRY_VALUE(request.page, json_member<bool>(json, "page"));
    NOXSUP_TRY_VALUE(request.connect_timeout, seconds_member(json, "connect_timeout"));
    NOXSUP_TRY_VALUE(request.stall_timeout, seconds_member(json, "stall_timeout"));
    NOXSUP_TRY_VALUE(const auto delay, json_member<std::uint32_t>(json, "retry_delay_ms"));
    request.retry_delay = std::chrono::milliseconds(delay);
    NOXSUP_TRY_VALUE(request.attempts, json_member<int>(json, "attempts"));
    return request;
}

Json to_json(const UnpackRequest& request) {
    Json json;
    json["input_fd"] = request.input_fd;
    json["output_fd"] = request.output_fd;
    json["max_bytes"] = request.max_bytes;
    json["max_ratio"] = request.max_ratio;
    return json;
}

Result<UnpackRequest> unpack_request_from_json(const Json& json) {
    UnpackRequest request;
    NOXSUP_TRY_VALUE(request.input_fd, json_member<int>(json, "input_fd"));
    NOXSUP_TRY_VALUE(request.output_fd, json_member<int>(json, "output_fd"));
    NOXSUP_TRY_VALUE(request.max_bytes, json_member<std::uint64_t>(json, "max_bytes"));
    NOXSUP_TRY_VALUE(request.max_ratio, json_member<std::uint64_t>(json, "max_ratio"));
    return request;
}

Json to_json(const ConvertRequest& request) {
    Json json;
    json["input_fd"] = request.input_fd;
    json["output_fd"] = request.output_fd;
    json["accept_raw"] = request.accept_raw;
    json["max_virtual_bytes"] = request.max_virtual_bytes;
    return json;
}

Result<ConvertRequest> convert_request_from_json(const Json& json) {
    ConvertRequest request;
    NOXSUP_TRY_VALUE(request.input_fd, json_member<int>(json, "input_fd"));
    NOXSUP_TRY_VALUE(request.output_fd, json_member<int>(json, "output_fd"));
    NOXSUP_TRY_VALUE(request.accept_raw, json_member<bool>(json, "accept_raw"));
    NOXSUP_TRY_VALUE(request.max_virtual_bytes,
                     json_member<std::uint64_t>(json, "max_virtual_bytes"));
    return request;
}

Json to_json(const SignatureRequest& request) {
    Json json;
    json["data_fd"] = request.data_fd;
    json["signature_fd"] = request.signature_fd;
    json["keyring_fd"] = request.keyring_fd;
    json["output_fd"] = request.output_fd;
    return json;
}

Result<SignatureRequest> signature_request_from_json(const Json& json) {
    SignatureRequest request;
    NOXSUP_TRY_VALUE(request.data_fd, json_member<int>(json, "data_fd"));
    NOXSUP_TRY_VALUE(request.signature_fd, json_member<int>(json, "signature_fd"));
    NOXSUP_TRY_VALUE(request.keyring_fd, json_member<int>(json, "keyring_fd"));
    NOXSUP_TRY_VALUE(request.output_fd, json_member<int>(json, "output_fd"));
    return request;
}

Json to_json(const Progress& progress) {
    Json json;
    json["stage"] = progress.stage;
    json["done"] = progress.done;
    json["unit"] = progress.unit;
    if (progress.total) json["total"] = *progress.total;
    if (progress.rate) json["rate"] = *progress.rate;
    if (progress.eta) json["eta"] = progress.eta->count();
    if (!progress.note.empty()) json["note"] = progress.note;
    return json;
}

Result<Progress> progress_from_json(const Json& json) {
    Progress progress;
    NOXSUP_TRY_VALUE(progress.stage, json_member<std::string>(json, "stage"));
    progress.stage = safe(std::move(progress.stage));
    NOXSUP_TRY_VALUE(progress.done, json_member<std::uint64_t>(json, "done"));
    NOXSUP_TRY_VALUE(progress.unit, json_member<std::string>(json, "unit"));
    progress.unit = safe(std::move(progress.unit));
    if (json.contains("total")) {
        NOXSUP_TRY_VALUE(progress.total, json_member<std::uint64_t>(json, "total"));
    }
    if (json.contains("rate")) {
        NOXSUP_TRY_VALUE(progress.rate, json_member<std::uint64_t>(json, "rate"));
    }
    if (json.contains("eta")) {
        NOXSUP_TRY_VALUE(progress.eta, seconds_member(json, "eta"));
    }
    NOXSUP_TRY_VALUE(progress.note, json_member_or<std::string>(json, "note", ""));
    progress.note = safe(std::move(progress.note));
    return progress;
}

Json to_json(const Error& error) {
    Json json;
    json["code"] = error_code_name(error.code);
    json["message"] = error.message;
    json["hint"] = error.hint;
    json["evidence"] = error.evidence;
    return json;
}

Error error_from_json(const Json& json) {
    const auto code = json_member<std::string>(json, "code");
    const auto message = json_member<std::string>(json, "message");
    const auto hint = json_member_or<std::string>(json, "hint", "");
    auto evidence = json_member_or<std::vector<std::string>>(json, "evidence", {});
    if (!code || !message || !hint || !evidence) {
        return {ErrorCode::protocol_error, "an error of another shape"};
    }
    Error error(error_code_from_name(*code), safe(*message), safe(*hint));
    if (evidence->size() > max_evidence_lines) evidence->resize(max_evidence_lines);
    for (auto& line : *evidence) error.evidence.push_back(safe(std::move(line)));
    return error;
}

WorkerAnswer::WorkerAnswer(ProgressCallback progress) : progress_(std::move(progress)) {}

void WorkerAnswer::feed(std::string_view piece) {
    if (nonsense_) return;
    pending_ += piece;
    std::size_t begin = 0;
    for (auto end = pending_.find('\n'); end != std::string::npos;
         end = pending_.find('\n', begin)) {
        line(std::string_view(pending_).substr(begin, end - begin));
        begin = end + 1;
    }
    pending_.erase(0, begin);
    if (pending_.size() > worker_line_limit) {
        nonsense_ = Error(ErrorCode::protocol_error, "noxsup-worker sent a line without an end");
    }
}

void WorkerAnswer::line(std::string_view text) {
    const auto fail = [this](const Error& why) {
        if (!nonsense_)
            nonsense_ = Error(ErrorCode::protocol_error, "noxsup-worker: " + why.message);
    };
    auto json = parse_json(text);
    if (!json) return fail(json.error());
    if (!json->is_object())
        return fail(Error(ErrorCode::protocol_error, "a line that is no object"));
    if (json->contains("progress")) {
        auto progress = progress_from_json((*json)["progress"]);
        if (!progress) return fail(progress.error());
        if (progress_) progress_(*progress);
        return;
    }
    if (json->contains("error")) {
        last_.emplace(error_from_json((*json)["error"]));
        return;
    }
    if (json->contains("result")) last_.emplace((*json)["result"]);
}

Result<Json> WorkerAnswer::take() {
    if (nonsense_) return std::move(*nonsense_);
    if (!last_) return Error{ErrorCode::protocol_error, "noxsup-worker ended without an answer"};
    return std::move(*last_);
}

}  // namespace noxsup::imaging
