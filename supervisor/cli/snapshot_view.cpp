#include "supervisor/cli/snapshot_view.hpp"

#include "supervisor/base/text.hpp"
#include "supervisor/cli/vm_view.hpp"

namespace noxsup::cli {

Document snapshot_document(Json snapshots) {
    Document document;
    document.table.headings = {"VM", "NAME", "CREATED", "STATE", "RAM", "SIZE", "COMMENT"};
    auto people = document.table;
    for (const auto& snapshot : snapshots) {
        document.names.push_back(text_at(snapshot, "name"));
        document.table.rows.push_back({text_at(snapshot, "vm"), text_at(snapshot, "name"),
                                       text_at(snapshot, "created_at"), text_at(snapshot, "state"),
                                       text_at(snapshot, "ram"), text_at(snapshot, "size_bytes"),
                                       text_at(snapshot, "comment")});
        auto row = document.table.rows.back();
        const auto bytes = json_member<std::uint64_t>(snapshot, "size_bytes");
        if (bytes) row.at(5) = format_bytes(*bytes);
        for (auto& cell : row) {
            if (cell.empty()) cell = "-";
        }
        people.rows.push_back(std::move(row));
    }
    document.text = snapshots.empty()
                        ? "no snapshot yet; to take one: noxsup snapshot create NAME\n"
                        : format_table(people);
    document.json = {{"snapshots", std::move(snapshots)}};
    return document;
}

}  // namespace noxsup::cli
