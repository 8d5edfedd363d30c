// JSON in and out without exceptions: parsing with limits, typed members, dumping that cannot fail.
#pragma once

#include <concepts>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "supervisor/base/result.hpp"

// Its members are compiled once, in json.cpp, and not with everything that reads some JSON.
extern template class nlohmann::basic_json<>;

namespace noxsup {

using Json = nlohmann::json;

/// Parses one document. Errors: protocol_error with the byte offset. Depth is capped at 64.
Result<Json> parse_json(std::string_view text);

/// One line; bytes that are not UTF-8 become U+FFFD, so it never fails.
std::string dump_json(const Json& value);

/// The member `key` as T. Errors: protocol_error when it is missing or of another type or range.
template <class T>
Result<T> json_member(const Json& object, std::string_view key);

/// The same for a member that may be missing or null: `fallback` then, an error for a wrong type.
template <class T>
Result<T> json_member_or(const Json& object, std::string_view key, T fallback);

namespace detail {
Error json_member_error(std::string_view key, std::string_view problem);
const Json* find_member(const Json& object, std::string_view key);

template <class T>
bool json_fits(const Json& value) {
    if constexpr (std::same_as<T, bool>) {
        return value.is_boolean();
    } else if constexpr (std::integral<T>) {
        if (value.is_number_unsigned()) return std::in_range<T>(value.get<std::uint64_t>());
        return value.is_number_integer() && std::in_range<T>(value.get<std::int64_t>());
    } else if constexpr (std::floating_point<T>) {
        return value.is_number();
    } else if constexpr (std::same_as<T, std::string>) {
        return value.is_string();
    } else if constexpr (std::same_as<T, std::vector<std::string>>) {
        return value.is_array() &&
               std::ranges::all_of(value, [](const Json& item) { return item.is_string(); });
    } else {
        static_assert(std::same_as<T, Json>, "no JSON mapping for this type");
        return true;
    }
}
}  // namespace detail

template <class T>
Result<T> json_member(const Json& object, std::string_view key) {
    const auto* value = detail::find_member(object, key);
    if (value == nullptr) return detail::json_member_error(key, "is missing");
    if (!detail::json_fits<T>(*value))
        return detail::json_member_error(key, "has the wrong type or range");
    return value->get<T>();
}

template <class T>
Result<T> json_member_or(const Json& object, std::string_view key, T fallback) {
    const auto* value = detail::find_member(object, key);
    if (value == nullptr || value->is_null()) return fallback;
    if (!detail::json_fits<T>(*value))
        return detail::json_member_error(key, "has the wrong type or range");
    return value->get<T>();
}

}  // namespace noxsup
