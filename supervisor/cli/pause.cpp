#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_calls.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {

Result<int> run_verb(Session& session, const PauseOptions& options) {
    // --all pauses what runs; what is stopped needs none.
    NOXSUP_TRY_VALUE(const auto names, session.names_of(options.vms, {"running", "unresponsive"}));
    return call_for_vms(
        session, control::method::vm_pause, names, Json::object(),
        [](const std::string& name, const Json& /*result*/) { return name + " is paused"; });
}

Result<int> run_verb(Session& session, const ResumeOptions& options) {
    NOXSUP_TRY_VALUE(const auto names, session.names_of(options.vms, {"paused"}));
    return call_for_vms(
        session, control::method::vm_resume, names, Json::object(),
        [](const std::string& name, const Json& /*result*/) { return name + " goes on"; });
}

Result<int> run_verb(Session& session, const SuspendOptions& options) {
    NOXSUP_TRY_VALUE(const auto names, session.names_of(options.vms, {"running", "paused"}));
    return call_for_vms(
        session, control::method::vm_suspend, names, Json::object(),
        [](const std::string& name, const Json& /*result*/) { return name + " is suspended"; });
}

}  // namespace noxsup::cli
