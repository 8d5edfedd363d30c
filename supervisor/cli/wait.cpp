#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_calls.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {

Result<int> run_verb(Session& session, const WaitOptions& options) {
    NOXSUP_TRY_VALUE(auto params, timeout_params(options.timeout));
    params["for"] = options.goal;
    return call_for_vms(session, control::method::vm_wait, {options.name}, std::move(params),
                        [&](const std::string& name, const Json& /*result*/) {
                            return name + ": " + options.goal;
                        });
}

}  // namespace noxsup::cli
