#include "supervisor/base/text.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {

Result<int> run_verb(Session& session, const CloneOptions& options) {
    Json params{{"name", options.name}, {"new_name", options.new_name}, {"full", options.full}};
    if (options.snapshot) params["snapshot"] = *options.snapshot;
    NOXSUP_TRY_VALUE(const auto reply, session.call(control::method::vm_clone, std::move(params)));
    NOXSUP_TRY_VALUE(const auto vm, json_member<Json>(reply.result, "vm"));
    auto document = vm_document(Json::array({vm}));
    document.text = escape_for_terminal(options.new_name + " is a clone of " + options.name +
                                        "; start it with noxsup start " + options.new_name) +
                    "\n";
    return session.print(document);
}

}  // namespace noxsup::cli
