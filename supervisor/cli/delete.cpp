#include "supervisor/base/text.hpp"
#include "supervisor/cli/terminal.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_calls.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {

Result<int> run_verb(Session& session, const DeleteOptions& options) {
    NOXSUP_TRY_VALUE(const auto names, session.names_of(options.vms));
    if (!options.yes && !names.empty()) {
        const auto question =
            "Delete " + escape_for_terminal(join(names, ", ")) + " with all that is on the disk?";
        if (!is_interactive()) {
            return Error{ErrorCode::invalid_argument,
                         "delete removes the VM's disk and asks first, but there is no terminal",
                         "say --yes"};
        }
        if (!ask_yes_no(question, false)) {
            return Error{ErrorCode::interrupted, "nothing was deleted"};
        }
    }
    return call_for_vms(
        session, control::method::vm_delete, names, Json::object(),
        [](const std::string& name, const Json& /*result*/) { return name + " is deleted"; });
}

}  // namespace noxsup::cli
