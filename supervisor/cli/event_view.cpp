#include "supervisor/cli/event_view.hpp"

#include <algorithm>

#include "supervisor/cli/table.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/cli/yaml.hpp"

namespace noxsup::cli {
namespace {

constexpr std::size_t name_width = 12;

/// Pure ASCII, so that no terminal takes anything in it for a control character.
std::string ascii_json(const Json& value) {
    return value.dump(-1, ' ', true, Json::error_handler_t::replace);
}

std::string was(const Json& event) {
    const auto previous = text_at(event, "previous");
    return previous.empty() || previous == text_at(event, "state") ? "" : " (was " + previous + ")";
}

std::string because(const Json& event) {
    const auto reason = text_at(event, "reason");
    return reason.empty() ? "" : ": " + reason;
}

/// QEMU's data, or that it was not kept.
std::string with_data(const Json& event) {
    const auto* data = detail::find_member(event, "data");
    if (data == nullptr || data->is_null()) return " (with more data than is kept)";
    return data->empty() ? "" : " " + ascii_json(*data);
}

std::string what(const Json& event) {
    const auto kind = text_at(event, "kind");
    if (kind == "state") return text_at(event, "state") + because(event) + was(event);
    if (kind == "qmp") return "QEMU: " + text_at(event, "event") + with_data(event);
    if (kind == "addresses") {
        const auto list = list_text_at(event, "data.addresses");
        return text_at(event, "data.mac") + " has " + (list.empty() ? "no address" : list);
    }
    if (kind == "renamed") return "renamed from " + text_at(event, "data.from");
    if (kind == "deleted") return "deleted" + because(event) + was(event);
    if (kind == "supervisor") {
        return "the supervisor " + text_at(event, "event") + ", version " +
               text_at(event, "data.version") + ", pid " + text_at(event, "data.pid");
    }
    if (kind == "missed")
        return text_at(event, "count") + " events missed: they were not read in time";
    return kind + " " + ascii_json(event);
}

}  // namespace

std::string event_text(const Json& event) {
    auto name = text_at(event, "vm");
    if (name.empty()) name = "-";
    name.resize(std::max(name.size(), name_width), ' ');
    return cell_text(text_at(event, "time") + "  " + name + "  " + what(event));
}

std::string EventRenderer::csv(const Json& event) {
    Table table;
    table.headings = {"TIME",   "SEQ",      "VM",    "UUID", "KIND", "STATE",
                      "REASON", "PREVIOUS", "EVENT", "DATA", "COUNT"};
    auto& row = table.rows.emplace_back();
    for (const auto* key :
         {"time", "seq", "vm", "uuid", "kind", "state", "reason", "previous", "event"}) {
        row.push_back(text_at(event, key));
    }
    const auto* data = detail::find_member(event, "data");
    row.push_back(data == nullptr || data->is_null() ? "" : ascii_json(*data));
    row.push_back(text_at(event, "count"));
    auto text = format_csv(table);
    if (headed_) text.erase(0, text.find('\n') + 1);
    headed_ = true;
    return text;
}

std::string EventRenderer::render(const Json& event) {
    if (options_.quiet) {
        const auto name = text_at(event, "vm");
        return name.empty() ? "" : cell_text(name) + "\n";
    }
    switch (options_.format) {
        case Format::json:
            return ascii_json(event) + "\n";
        case Format::yaml:
            return "---\n" + format_yaml(event);
        case Format::csv:
            return csv(event);
        case Format::table:
            break;
    }
    return event_text(event) + "\n";
}

}  // namespace noxsup::cli
