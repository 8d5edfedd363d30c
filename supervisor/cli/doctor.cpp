#include <unistd.h>

#include "supervisor/base/text.hpp"
#include "supervisor/cli/terminal.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {
namespace {

std::string marker(const std::string& status, bool color) {
    if (status == "ok") return color ? "\x1b[32mok\x1b[0m     " : "ok     ";
    if (status == "warning") return color ? "\x1b[33mwarning\x1b[0m" : "warning";
    return color ? "\x1b[31merror\x1b[0m  " : "error  ";
}

}  // namespace

Result<int> run_verb(Session& session, const DoctorOptions& options) {
    NOXSUP_TRY_VALUE(const auto reply,
                     session.call(control::method::host_doctor, {{"mend", options.fix}}));
    NOXSUP_TRY_VALUE(const auto checks, json_member<Json>(reply.result, "checks"));
    const bool color = wants_color(STDOUT_FILENO, session.options().no_color);
    Document document;
    document.json = {{"checks", checks}};
    document.table.headings = {"ID", "STATUS", "TEXT", "FIX"};
    bool healthy = true;
    for (const auto& check : checks) {
        const auto status = text_at(check, "status");
        const auto fix = text_at(check, "fix");
        const auto mended = text_at(check, "mended");
        document.text +=
            marker(status, color) + "  " + escape_for_terminal(text_at(check, "text")) + "\n";
        if (!mended.empty()) {
            document.text += "         mended: " + escape_for_terminal(mended) + "\n";
        }
        if (!fix.empty()) document.text += "         fix: " + escape_for_terminal(fix) + "\n";
        document.table.rows.push_back({text_at(check, "id"), status, text_at(check, "text"), fix});
        if (status != "ok") document.names.push_back(text_at(check, "id"));
        healthy = healthy && status != "error";
    }
    session.print(document);
    return healthy ? 0 : exit_code_of(ErrorCode::host_lacks_tool);
}

}  // namespace noxsup::cli
