#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_calls.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {

Result<int> run_verb(Session& session, const StopOptions& options) {
    // No time for the power button is what --force is.
    NOXSUP_TRY_VALUE(auto params, timeout_params(options.timeout, true));
    params["force"] = options.force;
    NOXSUP_TRY_VALUE(const auto names, session.names_of(options.vms));
    return call_for_vms(session, control::method::vm_stop, names, std::move(params),
                        [](const std::string& name, const Json& result) {
                            return name + " is stopped (" + how_text(text_at(result, "how")) + ")";
                        });
}

}  // namespace noxsup::cli
