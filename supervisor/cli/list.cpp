#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {

Result<int> run_verb(Session& session, const ListOptions& /*options*/) {
    NOXSUP_TRY_VALUE(auto reply, session.call(control::method::vm_list));
    NOXSUP_TRY_VALUE(auto vms, json_member<Json>(reply.result, "vms"));
    auto document = vm_document(vms);
    document.text = format_table(vm_table(vms, true));
    if (vms.empty()) document.text = "no VMs yet; make one with: noxsup create NAME\n";
    return session.print(document);
}

}  // namespace noxsup::cli
