// Which home a command works in: the two scopes.
#pragma once

#include "supervisor/base/result.hpp"
#include "supervisor/cli/options.hpp"
#include "supervisor/state/home.hpp"

namespace noxsup::cli {

/// --home or $NOX_HOME: user scope at that place. Else the system's where it runs and we may use
/// it, unless --user-scope says otherwise. Else ~/.nox. Errors: invalid_argument.
Result<state::Home> choose_home(const GlobalOptions& options);

}  // namespace noxsup::cli
