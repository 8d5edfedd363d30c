#include "qmp/message.hpp"

#include <array>

#include "supervisor/base/text.hpp"

namespace noxsup::qmp {
namespace {

constexpr std::array<std::string_view, 4> kinds = {"QMP", "event", "return", "error"};

/// True when the text can hold more values than the limit: each needs a comma or an opening
/// bracket.
bool has_too_many_values(std::string_view line) {
    if (line.size() <= max_values) return false;
    std::size_t values = 1;
    bool in_string = false;
    for (std::size_t i = 0; i < line.size(); ++i) {
        const char c = line[i];
        if (in_string) {
            if (c == '\\') ++i;
            if (c == '"') in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == ',' || c == '[' || c == '{') {
            if (++values > max_values) return true;
        }
    }
    return false;
}

Error wrong(std::string_view what) {
    return {ErrorCode::protocol_error, std::string(what)};
}

Result<Message> parse_greeting(const Json& value) {
    Greeting greeting;
    NOXSUP_TRY_VALUE(const auto version, json_member<Json>(value, "version"));
    NOXSUP_TRY_VALUE(greeting.version, parse_version(version));
    NOXSUP_TRY_VALUE(greeting.capabilities,
                     json_member_or<std::vector<std::string>>(value, "capabilities", {}));
    return Message(std::move(greeting));
}

Result<Message> parse_event_message(Json& object) {
    Event event;
    NOXSUP_TRY_VALUE(event.name, json_member<std::string>(object, "event"));
    if (event.name.empty()) return wrong("an event has no name");
    NOXSUP_TRY_VALUE(event.data, json_member_or<Json>(object, "data", Json::object()));
    if (!event.data.is_object()) return wrong("the data of an event is no object");
    const auto timestamp = object.find("timestamp");
    if (timestamp != object.end()) {
        NOXSUP_TRY_VALUE(event.seconds, json_member<std::int64_t>(*timestamp, "seconds"));
        NOXSUP_TRY_VALUE(event.microseconds, json_member<std::int64_t>(*timestamp, "microseconds"));
    }
    return Message(std::move(event));
}

std::optional<CommandId> parse_id(const Json& object) {
    const auto id = object.find("id");
    if (id == object.end() || !id->is_number_unsigned()) return std::nullopt;
    return id->get<CommandId>();
}

Result<Message> parse_reply(Json& object) {
    Reply reply;
    reply.id = parse_id(object);
    reply.value = std::move(object["return"]);
    return Message(std::move(reply));
}

Result<Message> parse_refusal(const Json& object) {
    Reply reply;
    reply.id = parse_id(object);
    const auto& error = object["error"];
    auto& refusal = reply.error.emplace();
    NOXSUP_TRY_VALUE(refusal.error_class, json_member<std::string>(error, "class"));
    NOXSUP_TRY_VALUE(refusal.description, json_member<std::string>(error, "desc"));
    return Message(std::move(reply));
}

Result<Message> classify(std::string_view line) {
    if (has_too_many_values(line)) {
        return wrong("the message has more than " + std::to_string(max_values) + " values");
    }
    NOXSUP_TRY_VALUE(auto object, parse_json(line));
    if (!object.is_object()) return wrong("the message is no JSON object");
    std::string_view kind;
    for (const auto candidate : kinds) {
        if (!object.contains(candidate)) continue;
        if (!kind.empty()) {
            return wrong("the message is both \"" + std::string(kind) + "\" and \"" +
                         std::string(candidate) + "\"");
        }
        kind = candidate;
    }
    if (kind == "QMP") return parse_greeting(object["QMP"]);
    if (kind == "event") return parse_event_message(object);
    if (kind == "return") return parse_reply(object);
    if (kind == "error") return parse_refusal(object);
    return wrong("the message is neither greeting, event, return nor error");
}

}  // namespace

std::string Version::text() const {
    return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(micro);
}

Result<Message> parse_message(std::string_view line) {
    auto message = classify(line);
    if (message) return message;
    auto error = std::move(message).error().context("read a QMP message");
    constexpr std::size_t shown = 200;
    error.evidence.push_back(escape_for_terminal(line.substr(0, shown)));
    return error;
}

Result<Version> parse_version(const Json& value) {
    Version version;
    NOXSUP_TRY_VALUE(const auto numbers, json_member<Json>(value, "qemu"));
    NOXSUP_TRY_VALUE(version.major, json_member<int>(numbers, "major"));
    NOXSUP_TRY_VALUE(version.minor, json_member<int>(numbers, "minor"));
    NOXSUP_TRY_VALUE(version.micro, json_member<int>(numbers, "micro"));
    NOXSUP_TRY_VALUE(version.package, json_member_or<std::string>(value, "package", {}));
    return version;
}

Error to_error(std::string_view command, const CommandError& refusal) {
    return {ErrorCode::qemu_failed,
            "QMP " + std::string(command) + ": " + escape_for_terminal(refusal.description)};
}

}  // namespace noxsup::qmp
