// What the verbs on VMs share: call for each name, print the errors, print the rest as one
// document.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/cli/session.hpp"

namespace noxsup::cli {

/// Calls `method` for each name. Replies' VMs become one document on standard output, whose text
/// for people is `line` of each reply, one a line, and whose member "done" names them (a VM that
/// was deleted is not there any more). Errors of single VMs are printed; the exit code is that of
/// the first. Errors: the supervisor cannot be reached.
Result<int> call_for_vms(
    Session& session, std::string_view method, const std::vector<std::string>& names, Json params,
    const std::function<std::string(const std::string& name, const Json& result)>& line);

/// {"timeout_seconds": N} for a `--timeout`, or an empty object. Errors: invalid_argument, also for
/// no time at all, unless `zero_allowed`.
Result<Json> timeout_params(const std::optional<std::string>& timeout, bool zero_allowed = false);

/// How a stop ended, for people: "power button", "killed", ...
std::string how_text(std::string_view how);

}  // namespace noxsup::cli
