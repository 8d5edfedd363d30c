// snapshot create, ls, restore and rm.
#include "supervisor/base/text.hpp"
#include "supervisor/cli/snapshot_view.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_calls.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {
namespace {

/// What the guest's data is worth, where that is not plain.
std::string consistency_text(const Json& snapshot) {
    const auto word = text_at(snapshot, "consistency");
    if (word == "ram" || word == "suspended") return " with the guest's memory";
    if (word == "frozen") return ", the guest's file systems frozen";
    return {};
}

}  // namespace

Result<int> run_verb(Session& session, const SnapshotCreateOptions& options) {
    Json params{{"name", options.name}, {"ram", options.ram}};
    if (options.snapshot) params["snapshot"] = *options.snapshot;
    if (options.comment) params["comment"] = *options.comment;
    NOXSUP_TRY_VALUE(const auto reply,
                     session.call(control::method::vm_snapshot_create, std::move(params)));
    NOXSUP_TRY_VALUE(const auto snapshot, json_member<Json>(reply.result, "snapshot"));
    auto document = snapshot_document(Json::array({snapshot}));
    document.text = escape_for_terminal(options.name + " has the snapshot " +
                                        text_at(snapshot, "name") + consistency_text(snapshot)) +
                    "\n";
    return session.print(document);
}

Result<int> run_verb(Session& session, const SnapshotListOptions& options) {
    auto snapshots = Json::array();
    const auto add = [&](Json params) -> Result<> {
        NOXSUP_TRY_VALUE(const auto reply,
                         session.call(control::method::vm_snapshot_list, std::move(params)));
        NOXSUP_TRY_VALUE(const auto list, json_member<Json>(reply.result, "snapshots"));
        for (const auto& snapshot : list) snapshots.push_back(snapshot);
        return {};
    };
    if (options.names.empty()) NOXSUP_TRY(add(Json::object()));
    for (const auto& name : options.names) NOXSUP_TRY(add(Json{{"name", name}}));
    return session.print(snapshot_document(std::move(snapshots)));
}

Result<int> run_verb(Session& session, const SnapshotRestoreOptions& options) {
    const auto line = [&options](const std::string& name, const Json& result) {
        const bool goes_on = text_at(result, "vm.state") == "suspended";
        return name + " is back at " + options.snapshot +
               (goes_on ? "; its guest goes on with noxsup start " + name
                        : "; start it with noxsup start " + name);
    };
    return call_for_vms(session, control::method::vm_snapshot_restore, {options.name},
                        Json{{"snapshot", options.snapshot}, {"force", options.force}}, line);
}

Result<int> run_verb(Session& session, const SnapshotRemoveOptions& options) {
    int exit = 0;
    Document document;
    document.json = {{"vm", options.name}, {"done", Json::array()}};
    document.table.headings = {"NAME"};
    for (const auto& snapshot : options.snapshots) {
        const auto reply = session.call(control::method::vm_snapshot_remove,
                                        Json{{"name", options.name}, {"snapshot", snapshot}});
        if (!reply) {
            print_error(reply.error(), session.options(), options.name);
            if (exit == 0) exit = exit_code_of(reply.error().code);
            continue;
        }
        document.json["done"].push_back(snapshot);
        document.table.rows.push_back({snapshot});
        document.names.push_back(snapshot);
        document.text +=
            escape_for_terminal(options.name + " has the snapshot " + snapshot + " no more") + "\n";
    }
    if (!document.names.empty()) session.print(document);
    return exit;
}

}  // namespace noxsup::cli
