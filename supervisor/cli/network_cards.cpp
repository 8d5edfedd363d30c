// network attach and detach: cards of VMs.

#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_calls.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {
namespace {

/// The last card of the VM: the one that came last.
std::string newest_card(const Json& result) {
    const auto* vm = detail::find_member(result, "vm");
    const auto* cards = vm != nullptr ? detail::find_member(*vm, "networks") : nullptr;
    if (cards == nullptr || !cards->is_array() || cards->empty()) return {};
    return text_at(cards->back(), "slot") + " (" + text_at(cards->back(), "mac") + ")";
}

}  // namespace

Result<int> run_verb(Session& session, const NetworkAttachOptions& options) {
    const auto line = [](const std::string& name, const Json& result) {
        return name + " has network card " + newest_card(result);
    };
    return call_for_vms(session, control::method::vm_network_attach, {options.name},
                        Json{{"network", options.network}}, line);
}

Result<int> run_verb(Session& session, const NetworkDetachOptions& options) {
    const auto line = [&options](const std::string& name, const Json& /*result*/) {
        return name + " has network card " + options.card + " no more";
    };
    return call_for_vms(session, control::method::vm_network_detach, {options.name},
                        Json{{"card", options.card}}, line);
}

}  // namespace noxsup::cli
