#include "supervisor/base/text.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {

Result<int> run_verb(Session& session, const StatusOptions& options) {
    auto vms = Json::array();
    int exit = 0;
    if (options.vms.all) {
        NOXSUP_TRY_VALUE(const auto reply, session.call(control::method::vm_list));
        NOXSUP_TRY_VALUE(vms, json_member<Json>(reply.result, "vms"));
    } else {
        NOXSUP_TRY_VALUE(const auto names, session.names_of(options.vms));
        NOXSUP_TRY_VALUE(auto replies,
                         session.call_each(control::method::vm_status, names, Json::object()));
        for (auto& [name, reply] : replies) {
            if (reply) {
                NOXSUP_TRY_VALUE(auto vm, json_member<Json>(reply->result, "vm"));
                vms.push_back(std::move(vm));
                continue;
            }
            print_error(reply.error(), session.options(), names.size() > 1 ? name : "");
            if (exit == 0) exit = exit_code_of(reply.error().code);
        }
        if (vms.empty()) return exit;
    }
    std::vector<std::string> pages;
    for (const auto& vm : vms) pages.push_back(vm_page(vm));
    auto document = vm_document(std::move(vms));
    document.text = join(pages, "\n");
    session.print(document);
    return exit;
}

}  // namespace noxsup::cli
