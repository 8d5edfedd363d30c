#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_calls.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {

Result<int> run_verb(Session& session, const StartOptions& options) {
    NOXSUP_TRY_VALUE(auto params, timeout_params(options.timeout));
    params["wait"] = options.wait;
    NOXSUP_TRY_VALUE(const auto names, session.names_of(options.vms));
    return call_for_vms(session, control::method::vm_start, names, std::move(params),
                        [](const std::string& name, const Json& result) {
                            const auto* vm = detail::find_member(result, "vm");
                            const auto address = vm == nullptr ? "" : vm_address(*vm);
                            return name + " is running" + (address.empty() ? "" : " at ") + address;
                        });
}

}  // namespace noxsup::cli
