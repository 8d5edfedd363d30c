#include "supervisor/base/json.hpp"

#include <algorithm>

template class nlohmann::basic_json<>;

namespace noxsup {
namespace {
constexpr int max_depth = 64;
}

Result<Json> parse_json(std::string_view text) {
    // The parser takes a NUL for the end of the text, whatever follows.
    if (const auto nul = text.find('\0'); nul != text.npos) {
        return Error{ErrorCode::protocol_error,
                     "not valid JSON at byte " + std::to_string(nul + 1)};
    }
    bool too_deep = false;
    const auto guard = [&too_deep](int depth, Json::parse_event_t event, Json& /*parsed*/) {
        const bool opens =
            event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
        if (opens && depth >= max_depth) too_deep = true;
        return !too_deep;
    };
    try {
        auto value = Json::parse(text, guard);
        if (too_deep) {
            return Error{ErrorCode::protocol_error,
                         "JSON is nested deeper than " + std::to_string(max_depth) + " levels"};
        }
        return value;
    } catch (const Json::parse_error& e) {
        return Error{ErrorCode::protocol_error, "not valid JSON at byte " + std::to_string(e.byte)};
    } catch (const Json::exception&) {
        // Of what parse() throws beside its errors there is one: a number like 1e999.
        return Error{ErrorCode::protocol_error, "the JSON has a number that is too large"};
    }
}

std::string dump_json(const Json& value) {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

namespace detail {

Error json_member_error(std::string_view key, std::string_view problem) {
    return {ErrorCode::protocol_error,
            "member \"" + std::string(key) + "\" " + std::string(problem)};
}

const Json* find_member(const Json& object, std::string_view key) {
    if (!object.is_object()) return nullptr;
    const auto found = object.find(std::string(key));
    return found == object.end() ? nullptr : &*found;
}

}  // namespace detail
}  // namespace noxsup
