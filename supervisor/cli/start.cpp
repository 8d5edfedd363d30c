#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_calls.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {

Result<int> run_verb(Session& session, const StartOptions& options) {
    NOXSUP_TRY_VALUE(auto params, timeout_params(options.timeout));
    params["wait"] = options.paused ? "" : options.wait;
    params["paused"] = options.paused;
    params["cold"] = options.cold;
    NOXSUP_TRY_VALUE(const auto names, session.names_of(options.vms));
    return call_for_vms(session, control::method::vm_start, names, std::move(params),
                        [&options](const std::string& name, const Json& result) {
                            if (options.paused) return name + " is paused before its first step";
                            const auto* vm = detail::find_member(result, "vm");
                            const auto address = vm == nullptr ? "" : vm_address(*vm);
                            return name + " is running" + (address.empty() ? "" : " at ") + address;
                        });
}

}  // namespace noxsup::cli
