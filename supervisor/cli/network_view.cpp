#include "supervisor/cli/network_view.hpp"

#include <algorithm>

#include "supervisor/base/text.hpp"
#include "supervisor/cli/vm_view.hpp"

namespace noxsup::cli {
namespace {

namespace setup = netbridge::setup;

std::string state_of(const setup::Journal& journal) {
    if (journal.confirmed) return "confirmed";
    switch (journal.phase) {
        case setup::Phase::applying:
            return "applying";
        case setup::Phase::applied:
            return "pending";
        case setup::Phase::undoing:
            break;
    }
    return "undoing";
}

Json setup_json(const setup::JournalEntry& entry, setup::BootTime now) {
    if (!entry.journal) {
        return {{"state", "damaged"},
                {"card", nullptr},
                {"manager", nullptr},
                {"created_at", nullptr},
                {"seconds_left", nullptr}};
    }
    const auto& journal = *entry.journal;
    Json json{{"state", state_of(journal)},
              {"card", journal.plan.card},
              {"manager", setup::manager_name(journal.plan.manager)},
              {"created_at", journal.created_at},
              {"seconds_left", nullptr}};
    if (json["state"] == "pending") {
        const auto left = std::chrono::ceil<std::chrono::seconds>(journal.deadline - now);
        json["seconds_left"] = std::max<std::int64_t>(left.count(), 0);
    }
    return json;
}

std::string words(const Json& list, std::string_view separator) {
    std::vector<std::string> texts;
    for (const auto& item : list) {
        if (item.is_string()) texts.push_back(item);
    }
    return join(texts, separator);
}

/// "eth0, confirmed", or how long there is to confirm it.
std::string setup_text(const Json& bridge) {
    const auto state = text_at(bridge, "setup.state");
    if (state.empty()) return {};
    if (state == "damaged") return "its journal is damaged";
    const auto text = "of " + text_at(bridge, "setup.card") + ", ";
    if (state != "pending") return text + state;
    return text + "confirm within " + text_at(bridge, "setup.seconds_left") + " s";
}

}  // namespace

Json bridge_json(const BridgeView& view, setup::BootTime now) {
    auto managers = Json::array();
    for (const auto manager : view.managers) managers.push_back(setup::manager_name(manager));
    return {{"name", view.name},
            {"state", view.state},
            {"mac", view.mac.empty() ? Json() : Json(view.mac)},
            {"fixed_mac", view.fixed_mac},
            {"addresses", view.addresses},
            {"ports", view.ports},
            {"usable", view.problem.empty()},
            {"problem", view.problem.empty() ? Json() : Json(view.problem)},
            {"managed_by", std::move(managers)},
            {"setup", view.setup == nullptr ? Json() : setup_json(*view.setup, now)}};
}

Document bridge_document(const Json& bridges) {
    Document document;
    document.json = {{"bridges", bridges}};
    document.table.headings = {"NAME", "STATE", "ADDRESSES", "PORTS", "VMS", "MANAGED BY", "SETUP"};
    auto people = document.table;
    const auto dash = [](std::string text) { return text.empty() ? "-" : std::move(text); };
    for (const auto& bridge : bridges) {
        const auto name = text_at(bridge, "name");
        const auto state = text_at(bridge, "state");
        const bool usable = bridge["usable"].get<bool>();
        document.names.push_back(name);
        document.table.rows.push_back({name, state, words(bridge["addresses"], " "),
                                       words(bridge["ports"], " "), usable ? "yes" : "no",
                                       words(bridge["managed_by"], " "), setup_text(bridge)});
        auto row = document.table.rows.back();
        row[2] = words(bridge["addresses"], ", ");
        row[3] = words(bridge["ports"], ", ");
        row[5] = words(bridge["managed_by"], ", ");
        for (auto& cell : row) cell = dash(std::move(cell));
        people.rows.push_back(std::move(row));
    }
    if (bridges.empty()) {
        document.text =
            "no bridge yet; to make one of this host's network card: sudo noxsup network setup\n";
        return document;
    }
    document.text = format_table(people);
    for (const auto& bridge : bridges) {
        const auto problem = text_at(bridge, "problem");
        if (!problem.empty())
            document.text += "note: VMs cannot use " +
                             escape_for_terminal(text_at(bridge, "name")) + ": " +
                             escape_for_terminal(problem) + "\n";
    }
    return document;
}

}  // namespace noxsup::cli
