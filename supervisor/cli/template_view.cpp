#include "supervisor/cli/template_view.hpp"

#include "supervisor/base/text.hpp"
#include "supervisor/cli/vm_view.hpp"

namespace noxsup::cli {
namespace {

std::string size_text(const Json& of, const char* key) {
    const auto bytes = json_member<std::uint64_t>(of, key);
    return bytes ? format_bytes(*bytes) : "-";
}

}  // namespace

Document template_document(Json templates) {
    Document document;
    document.table.headings = {"ID",   "IMAGE", "ARCH",    "CPUS",    "RAM",
                               "DISK", "USER",  "CREATED", "USED BY", "OF NO USE"};
    auto people = document.table;
    for (const auto& made : templates) {
        const auto users = json_member_or<std::vector<std::string>>(made, "used_by", {});
        document.names.push_back(text_at(made, "id"));
        document.table.rows.push_back({text_at(made, "id"), text_at(made, "image"),
                                       text_at(made, "arch"), text_at(made, "cpus"),
                                       text_at(made, "memory_bytes"),
                                       text_at(made, "disk.virtual_bytes"), text_at(made, "user"),
                                       text_at(made, "created_at"), users ? join(*users, " ") : "",
                                       text_at(made, "of_no_use")});
        auto row = document.table.rows.back();
        row.at(4) = size_text(made, "memory_bytes");
        const auto disk = json_member<Json>(made, "disk");
        row.at(5) = disk ? size_text(*disk, "virtual_bytes") : "-";
        for (auto& cell : row) {
            if (cell.empty()) cell = "-";
        }
        people.rows.push_back(std::move(row));
    }
    document.text = templates.empty()
                        ? "no template yet; to make one: noxsup template create debian\n"
                        : format_table(people);
    document.json = {{"templates", std::move(templates)}};
    return document;
}

}  // namespace noxsup::cli
