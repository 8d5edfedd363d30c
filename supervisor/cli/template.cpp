// template create, ls and rm.
#include "supervisor/base/text.hpp"
#include "supervisor/cli/template_view.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_calls.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {

Result<int> run_verb(Session& session, const TemplateCreateOptions& options) {
    NOXSUP_TRY_VALUE(auto params, timeout_params(options.timeout));
    const auto add = [&params](const char* key, const std::optional<std::string>& value) {
        if (value) params[key] = *value;
    };
    if (!options.os.empty()) params["os"] = options.os;
    add("arch", options.arch);
    add("cpus", options.cpus);
    add("ram", options.ram);
    add("disk", options.disk);
    add("user", options.user);
    add("accel", options.accel);
    if (!options.networks.empty()) params["network"] = options.networks;
    params["allow_build"] = true;
    NOXSUP_TRY_VALUE(const auto reply,
                     session.call(control::method::template_create, std::move(params)));
    NOXSUP_TRY_VALUE(const auto made, json_member<Json>(reply.result, "template"));
    auto document = template_document(Json::array({made}));
    document.text =
        escape_for_terminal("template " + text_at(made, "id") + " of " + text_at(made, "image") +
                            " is there: a VM of its kind begins with it") +
        "\n";
    return session.print(document);
}

Result<int> run_verb(Session& session, const TemplateListOptions& /*options*/) {
    NOXSUP_TRY_VALUE(const auto reply, session.call(control::method::template_list));
    NOXSUP_TRY_VALUE(auto templates, json_member<Json>(reply.result, "templates"));
    return session.print(template_document(std::move(templates)));
}

Result<int> run_verb(Session& session, const TemplateRemoveOptions& options) {
    int exit = 0;
    Document document;
    document.json = {{"done", Json::array()}};
    document.table.headings = {"ID"};
    for (const auto& id : options.ids) {
        const auto reply = session.call(control::method::template_remove, Json{{"id", id}});
        if (!reply) {
            print_error(reply.error(), session.options(), id);
            if (exit == 0) exit = exit_code_of(reply.error().code);
            continue;
        }
        document.json["done"].push_back(id);
        document.table.rows.push_back({id});
        document.names.push_back(id);
        document.text += escape_for_terminal("template " + id + " is removed") + "\n";
    }
    if (!document.names.empty()) session.print(document);
    return exit;
}

}  // namespace noxsup::cli
