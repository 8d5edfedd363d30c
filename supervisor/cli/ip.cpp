#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {

Result<int> run_verb(Session& session, const IpOptions& options) {
    NOXSUP_TRY_VALUE(const auto reply,
                     session.call(control::method::vm_status, {{"name", options.name}}));
    NOXSUP_TRY_VALUE(const auto vm, json_member<Json>(reply.result, "vm"));
    auto address = vm_address(vm);
    // The port of user-mode networking is for people; scripts want what `ping` takes.
    const auto host = text_at(vm, "ssh.host");
    if (!host.empty() && address.starts_with(host + ":")) address = host;
    if (address.empty()) {
        return Error{ErrorCode::wrong_state,
                     options.name + " has no address (it is " + text_at(vm, "state") + ")",
                     "wait for it: noxsup wait " + options.name + " --for ip"};
    }
    Document document;
    document.json = {{"name", options.name}, {"address", address}};
    document.table = {{"NAME", "ADDRESS"}, {{options.name, address}}};
    document.text = address + "\n";
    document.names = {address};
    return session.print(document);
}

}  // namespace noxsup::cli
