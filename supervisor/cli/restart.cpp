#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_calls.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {

Result<int> run_verb(Session& session, const RestartOptions& options) {
    NOXSUP_TRY_VALUE(auto params, timeout_params(options.timeout));
    params["force"] = options.force;
    params["wait"] = options.wait;
    // --all restarts what runs; the others were stopped on purpose.
    NOXSUP_TRY_VALUE(const auto names,
                     session.names_of(options.vms, {"running", "unresponsive", "paused"}));
    return call_for_vms(session, control::method::vm_restart, names, std::move(params),
                        [](const std::string& name, const Json& result) {
                            return name + " runs again (stop: " + how_text(text_at(result, "how")) +
                                   ")";
                        });
}

}  // namespace noxsup::cli
