#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_calls.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {

Result<int> run_verb(Session& session, const ResetOptions& options) {
    NOXSUP_TRY_VALUE(const auto names,
                     session.names_of(options.vms, {"running", "unresponsive", "paused"}));
    return call_for_vms(
        session, control::method::vm_reset, names, Json::object(),
        [](const std::string& name, const Json& /*result*/) { return name + " was reset"; });
}

}  // namespace noxsup::cli
