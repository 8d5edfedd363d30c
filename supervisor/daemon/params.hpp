// Parameters of control calls: a broken one is the caller's fault, not the protocol's.
#pragma once

#include <string_view>
#include <utility>

#include "supervisor/base/json.hpp"

namespace noxsup::daemon {

/// The member `key` of a call's parameters. Errors: invalid_argument when it is not there or no T.
template <class T>
Result<T> parameter(const Json& params, std::string_view key) {
    auto value = json_member<T>(params, key);
    if (!value) return Error{ErrorCode::invalid_argument, value.error().message};
    return value;
}

/// The same, or `fallback` where it is not there.
template <class T>
Result<T> parameter(const Json& params, std::string_view key, T fallback) {
    auto value = json_member_or<T>(params, key, std::move(fallback));
    if (!value) return Error{ErrorCode::invalid_argument, value.error().message};
    return value;
}

}  // namespace noxsup::daemon
