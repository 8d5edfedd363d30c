#include "supervisor/cli/vm_calls.hpp"

#include <array>
#include <cmath>
#include <utility>

#include "supervisor/base/text.hpp"
#include "supervisor/cli/duration.hpp"
#include "supervisor/cli/vm_view.hpp"

namespace noxsup::cli {

Result<int> call_for_vms(
    Session& session, std::string_view method, const std::vector<std::string>& names, Json params,
    const std::function<std::string(const std::string& name, const Json& result)>& line) {
    if (names.empty()) {
        session.note("there is no VM to do it with");
        return session.print(vm_document(Json::array()));
    }
    NOXSUP_TRY_VALUE(const auto replies, session.call_each(method, names, std::move(params)));
    int exit = 0;
    auto vms = Json::array();
    auto how = Json::object();
    std::string text;
    std::vector<std::string> done;
    for (const auto& [name, reply] : replies) {
        if (!reply) {
            print_error(reply.error(), session.options(), names.size() > 1 ? name : "");
            if (exit == 0) exit = exit_code_of(reply.error().code);
            continue;
        }
        done.push_back(name);
        const auto* vm = detail::find_member(reply->result, "vm");
        if (vm != nullptr) vms.push_back(*vm);
        const auto* ended_by = detail::find_member(reply->result, "how");
        if (ended_by != nullptr) how[name] = *ended_by;
        text += escape_for_terminal(line(name, reply->result)) + "\n";
    }
    // With nothing done the errors say it all; an empty document would look like success.
    if (done.empty()) return exit;
    auto document = vm_document(std::move(vms));
    document.json["done"] = done;
    if (!how.empty()) document.json["how"] = std::move(how);
    document.text = std::move(text);
    document.names = std::move(done);
    session.print(document);
    return exit;
}

Result<Json> timeout_params(const std::optional<std::string>& timeout, bool zero_allowed) {
    auto params = Json::object();
    if (!timeout) return params;
    NOXSUP_TRY_VALUE(const auto duration, parse_duration(*timeout, "--timeout"));
    if (duration.count() == 0 && !zero_allowed) {
        return Error{ErrorCode::invalid_argument, "--timeout 0 leaves no time",
                     "write it as 90s, 5m or 1h30m"};
    }
    // Whole seconds: 1500ms is two.
    params["timeout_seconds"] = (duration.count() + 999) / 1000;
    return params;
}

std::string how_text(std::string_view how) {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 5> texts = {
        {{"was-stopped", "it was stopped already"},
         {"power-button", "by the power button"},
         {"quit", "QEMU was told to quit"},
         {"term", "QEMU was ended by SIGTERM"},
         {"kill", "QEMU was killed"}}};
    for (const auto& [word, text] : texts) {
        if (word == how) return std::string(text);
    }
    return std::string(how);
}

}  // namespace noxsup::cli
