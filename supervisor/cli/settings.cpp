#include <algorithm>

#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_calls.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {

Result<int> run_verb(Session& session, const RenameOptions& options) {
    const auto line = [&options](const std::string& name, const Json& /*result*/) {
        return name + " is " + options.new_name + " now; its guest keeps its host name";
    };
    return call_for_vms(session, control::method::vm_rename, {options.name},
                        Json{{"new_name", options.new_name}}, line);
}

Result<int> run_verb(Session& session, const SetOptions& options) {
    auto changes = Json::object();
    for (const auto& change : options.changes) {
        const auto separator = change.find('=');
        if (separator == std::string::npos || separator == 0) {
            return Error{ErrorCode::invalid_argument, "\"" + change + "\" is not KEY=VALUE",
                         "for example: noxsup set " + options.name + " cpus=2 ram=1G"};
        }
        const auto key = change.substr(0, separator);
        if (changes.contains(key)) return Error{ErrorCode::invalid_argument, key + " is set twice"};
        changes[key] = change.substr(separator + 1);
    }
    const auto line = [](const std::string& name, const Json& result) {
        const auto notes = json_member_or<Json>(result, "vm", Json::object());
        const auto degraded = json_member_or<std::vector<std::string>>(*notes, "degraded",
                                                                       std::vector<std::string>());
        const bool later = degraded && std::ranges::any_of(*degraded, [](const auto& note) {
                               return note.starts_with("restart-needed");
                           });
        return name + " is changed" +
               (later ? "; its QEMU has it after noxsup restart " + name : std::string());
    };
    return call_for_vms(session, control::method::vm_set, {options.name},
                        Json{{"changes", std::move(changes)}}, line);
}

}  // namespace noxsup::cli
