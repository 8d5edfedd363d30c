#include "supervisor/control/rpc.hpp"

#include <algorithm>
#include <utility>

namespace noxsup::control {
namespace {

constexpr std::size_t max_id_bytes = 64;

bool is_call_id(const Json& id) {
    return id.is_number_integer() ||
           (id.is_string() && id.get_ref<const std::string&>().size() <= max_id_bytes);
}

Malformed malformed(CallId id, std::string problem, RpcCode code = RpcCode::invalid_request) {
    return {std::move(id), code, std::move(problem)};
}

Json envelope() {
    Json object = Json::object();
    object["jsonrpc"] = "2.0";
    return object;
}

std::string line_of(const Json& object) {
    auto text = dump_json(object);
    text += '\n';
    return text;
}

/// The number of descriptors that the line claims, or nothing when that is nonsense.
std::optional<std::size_t> claimed_fds(const Json& object) {
    const auto claimed = json_member_or<std::uint64_t>(object, "fds", 0);
    if (!claimed || *claimed > max_message_fds) return std::nullopt;
    return static_cast<std::size_t>(*claimed);
}

/// The member as T; `fallback` when it is missing or of another type.
template <class T>
T lenient(const Json& object, std::string_view key, T fallback) {
    auto value = json_member_or<T>(object, key, fallback);
    return value ? std::move(*value) : std::move(fallback);
}

RpcCode rpc_code_of(std::int64_t value) {
    for (const auto known :
         {RpcCode::parse_error, RpcCode::invalid_request, RpcCode::method_not_found,
          RpcCode::invalid_params, RpcCode::internal_error}) {
        if (value == static_cast<int>(known)) return known;
    }
    return RpcCode::noxsup_error;
}

/// The general code of an exit code, for codes that a newer build has and we do not.
ErrorCode general_code(int exit) {
    if (exit == exit_code_of(ErrorCode::failed)) return ErrorCode::failed;
    const auto& codes = all_error_codes();
    const auto found = std::ranges::find(codes, exit, exit_code_of);
    return found == codes.end() ? ErrorCode::failed : *found;
}

Error error_of(RpcCode rpc_code, const Json& object) {
    const auto message = lenient<std::string>(object, "message", "");
    const auto* data = detail::find_member(object, "data");
    if (data != nullptr && data->is_object()) {
        auto error = error_from_json(*data);
        if (!message.empty()) error.message = message;
        return error;
    }
    switch (rpc_code) {
        case RpcCode::method_not_found:
            return {ErrorCode::protocol_mismatch, message,
                    "the running supervisor is of another version: restart it"};
        case RpcCode::invalid_params:
            return {ErrorCode::invalid_argument, message};
        default:
            return {ErrorCode::protocol_error, message};
    }
}

using Parsed = std::variant<Message, Malformed>;

Parsed parse_call(const Json& object, const Json* id, std::size_t fds) {
    const auto& method = object.at("method");
    const auto answer_to = id == nullptr ? Json() : *id;
    if (!method.is_string()) return malformed(answer_to, "\"method\" is no text");
    const auto* found = detail::find_member(object, "params");
    auto params = found == nullptr ? Json::object() : *found;
    if (!params.is_object()) {
        return malformed(answer_to, "\"params\" is no object", RpcCode::invalid_params);
    }
    auto name = method.get<std::string>();
    if (id == nullptr) {
        if (fds != 0) return malformed(Json(), "a notification cannot carry descriptors");
        return Message(Notification{std::move(name), std::move(params)});
    }
    return Message(Request{*id, std::move(name), std::move(params), fds});
}

Parsed parse_answer(const Json& object, const Json& id, std::size_t fds) {
    const auto* result = detail::find_member(object, "result");
    const auto* error = detail::find_member(object, "error");
    if ((result == nullptr) == (error == nullptr)) {
        return malformed(id, "neither a call nor an answer");
    }
    if (result != nullptr) {
        if (id.is_null()) return malformed(id, "an answer without an id");
        return Message(Response{id, *result, fds});
    }
    const auto code = json_member<std::int64_t>(*error, "code");
    if (!code) return malformed(id, "an error without a code");
    const auto rpc_code = rpc_code_of(*code);
    return Message(ErrorResponse{id, rpc_code, error_of(rpc_code, *error)});
}

}  // namespace

Result<> LineFramer::feed(std::string_view bytes) {
    const Error too_long(ErrorCode::protocol_error,
                         "a line of more than " + std::to_string(limit_) + " bytes");
    if (broken_) return too_long;
    while (!bytes.empty()) {
        const auto end = bytes.find('\n');
        const auto piece = bytes.substr(0, end);
        if (rest_.size() + piece.size() > limit_) {
            broken_ = true;
            rest_.clear();
            return too_long;
        }
        rest_ += piece;
        if (end == std::string_view::npos) break;
        if (!rest_.empty() && rest_.back() == '\r') rest_.pop_back();
        lines_.push_back(std::exchange(rest_, {}));
        bytes.remove_prefix(end + 1);
    }
    return {};
}

std::optional<std::string> LineFramer::next() {
    if (lines_.empty()) return std::nullopt;
    auto line = std::move(lines_.front());
    lines_.pop_front();
    return line;
}

Parsed parse_message(std::string_view line) {
    auto parsed = parse_json(line);
    if (!parsed) return malformed(Json(), parsed.error().message, RpcCode::parse_error);
    const auto& object = *parsed;
    if (!object.is_object()) return malformed(Json(), "a message is one JSON object");
    const auto* found = detail::find_member(object, "id");
    const bool usable = found != nullptr && is_call_id(*found);
    const auto answer_to = usable ? *found : Json();
    const auto* version = detail::find_member(object, "jsonrpc");
    if (version == nullptr || *version != "2.0") {
        return malformed(answer_to, "\"jsonrpc\" is not \"2.0\"");
    }
    const bool null_id = found == nullptr || found->is_null();
    if (!usable && !null_id) return malformed(Json(), "\"id\" is no integer or short text");
    const auto fds = claimed_fds(object);
    if (!fds) return malformed(answer_to, "\"fds\" is no small number");
    if (object.contains("method")) return parse_call(object, usable ? found : nullptr, *fds);
    return parse_answer(object, answer_to, *fds);
}

std::string encode(const Request& request) {
    auto object = envelope();
    object["id"] = request.id;
    object["method"] = request.method;
    object["params"] = request.params;
    if (request.fds != 0) object["fds"] = request.fds;
    return line_of(object);
}

std::string encode(const Notification& notification) {
    auto object = envelope();
    object["method"] = notification.method;
    object["params"] = notification.params;
    return line_of(object);
}

std::string encode(const Response& response) {
    auto object = envelope();
    object["id"] = response.id;
    object["result"] = response.result;
    if (response.fds != 0) object["fds"] = response.fds;
    return line_of(object);
}

std::string encode(const ErrorResponse& response) {
    auto object = envelope();
    object["id"] = response.id;
    object["error"] = {{"code", static_cast<int>(response.rpc_code)},
                       {"message", response.error.message},
                       {"data", error_to_json(response.error)}};
    return line_of(object);
}

Json error_to_json(const Error& error) {
    auto object = Json::object();
    object["code"] = error_code_name(error.code);
    object["exit"] = exit_code_of(error.code);
    object["stage"] = error.stage.empty() ? Json() : Json(error.stage);
    object["message"] = error.message;
    object["hint"] = error.hint.empty() ? Json() : Json(error.hint);
    object["evidence"] = error.evidence;
    return object;
}

Error error_from_json(const Json& data) {
    const auto name = lenient<std::string>(data, "code", "");
    auto code = error_code_from_name(name);
    if (error_code_name(code) != name) {
        code = general_code(lenient<int>(data, "exit", exit_code_of(ErrorCode::failed)));
    }
    Error error(code, lenient<std::string>(data, "message", ""),
                lenient<std::string>(data, "hint", ""));
    error.stage = lenient<std::string>(data, "stage", "");
    error.evidence = lenient<std::vector<std::string>>(data, "evidence", {});
    return error;
}

}  // namespace noxsup::control
