#include "supervisor/cli/duration.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_calls.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {
namespace {

std::string rule_text(const Json& vm) {
    const auto mode = text_at(vm, "autostart_mode");
    if (mode == "off") return " does not start with the host";
    auto text = " starts with the host, order " + text_at(vm, "autostart_order");
    const auto delay = text_at(vm, "autostart_delay_seconds");
    if (delay != "0") text += ", then a pause of " + delay + " s";
    if (mode == "last") text += "; if it ran when the host went down";
    return text;
}

}  // namespace

Result<int> run_verb(Session& session, const AutostartOptions& options) {
    auto params = Json::object();
    if (options.mode) params["mode"] = *options.mode;
    if (options.order) params["order"] = *options.order;
    if (options.delay) {
        NOXSUP_TRY_VALUE(const auto delay, parse_duration(*options.delay, "--delay"));
        params["delay_seconds"] = std::chrono::ceil<std::chrono::seconds>(delay).count();
    }
    NOXSUP_TRY_VALUE(const auto names, session.names_of(options.vms));
    return call_for_vms(session, control::method::vm_autostart, names, std::move(params),
                        [](const std::string& name, const Json& result) {
                            const auto* vm = detail::find_member(result, "vm");
                            return name + (vm == nullptr ? " is set" : rule_text(*vm));
                        });
}

}  // namespace noxsup::cli
