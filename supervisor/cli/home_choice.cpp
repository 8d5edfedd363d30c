#include "supervisor/cli/home_choice.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "supervisor/base/unix_socket.hpp"

namespace noxsup::cli {
namespace {

bool system_scope_runs(const state::Home& system) {
    const auto socket = system.control_socket();
    return ::access(socket.c_str(), R_OK | W_OK) == 0 && connect_unix(socket).has_value();
}

}  // namespace

Result<state::Home> choose_home(const GlobalOptions& options) {
    using state::Home;
    using state::Scope;
    if (options.system_scope) return Home(std::filesystem::path(state::system_home), Scope::system);
    if (!options.home.empty()) {
        std::error_code failure;
        const auto path = std::filesystem::absolute(options.home, failure);
        if (failure) {
            return Error{ErrorCode::invalid_argument,
                         "--home " + options.home + ": " + failure.message()};
        }
        return Home(path.lexically_normal(), Scope::user);
    }
    const char* chosen = ::getenv("NOX_HOME");
    const bool named = chosen != nullptr && *chosen != '\0';
    if (!named && !options.user_scope) {
        Home system{std::filesystem::path(state::system_home), Scope::system};
        if (system_scope_runs(system)) return system;
    }
    NOXSUP_TRY_VALUE(auto path, state::default_user_home());
    return Home(std::move(path), Scope::user);
}

}  // namespace noxsup::cli
