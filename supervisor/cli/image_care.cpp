#include <unistd.h>

#include <algorithm>

#include "supervisor/base/text.hpp"
#include "supervisor/cli/terminal.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {
namespace {

/// Each name once; without any, every image that is ours: files of nox have no digest.
Result<std::vector<std::string>> names_to_verify(Session& session,
                                                 const std::vector<std::string>& given) {
    std::vector<std::string> names;
    const auto add = [&names](const std::string& name) {
        if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    };
    for (const auto& name : given) add(name);
    if (!given.empty()) return names;
    NOXSUP_TRY_VALUE(const auto reply, session.call(control::method::image_list));
    NOXSUP_TRY_VALUE(const auto images, json_member<Json>(reply.result, "images"));
    for (const auto& image : images) {
        if (!text_at(image, "digest").empty()) add(text_at(image, "name"));
    }
    return names;
}

Document prune_document(const Json& reply, bool dry_run) {
    Document document;
    document.table.headings = {"FILE", "BYTES"};
    const auto* removed = detail::find_member(reply, "removed");
    if (removed != nullptr && removed->is_array()) {
        for (const auto& file : *removed) {
            const auto name = text_at(file, "file");
            document.names.push_back(name);
            document.table.rows.push_back({name, text_at(file, "bytes")});
            const auto bytes = json_member<std::uint64_t>(file, "bytes");
            document.text += escape_for_terminal(name) +
                             (dry_run ? " would be removed" : " is removed") +
                             (bytes ? " (" + format_bytes(*bytes) + ")" : "") + "\n";
        }
    }
    if (document.names.empty()) document.text = "nothing to remove\n";
    document.json = reply;
    document.json["dry_run"] = dry_run;
    return document;
}

}  // namespace

Result<int> run_verb(Session& session, const ImageVerifyOptions& options) {
    NOXSUP_TRY_VALUE(const auto names, names_to_verify(session, options.names));
    NOXSUP_TRY_VALUE(const auto replies,
                     session.call_each(control::method::image_verify, names, Json::object()));
    int exit = 0;
    Document document;
    auto verified = Json::array();
    document.table.headings = {"NAME", "GOOD"};
    for (const auto& [name, reply] : replies) {
        // What could not be looked at is neither good nor bad.
        const bool bad = !reply && reply.error().code == ErrorCode::digest_mismatch;
        if (!reply) {
            print_error(reply.error(), session.options());
            if (exit == 0) exit = exit_code_of(reply.error().code);
        }
        if (!reply && !bad) continue;
        verified.push_back({{"name", name}, {"good", !bad}});
        document.table.rows.push_back({name, bad ? "no" : "yes"});
        if (bad) continue;
        document.names.push_back(name);
        document.text += escape_for_terminal(name) + " is as it was recorded\n";
    }
    if (names.empty()) document.text = "no images yet\n";
    if (verified.empty() && exit != 0) return exit;
    document.json = {{"verified", std::move(verified)}};
    session.print(document);
    return exit;
}

Result<int> run_verb(Session& session, const ImagePruneOptions& options) {
    NOXSUP_TRY_VALUE(const auto look,
                     session.call(control::method::image_prune, {{"dry_run", true}}));
    const auto plan = prune_document(look.result, true);
    if (options.dry_run) return session.print(plan);
    if (!plan.names.empty() && !options.yes) {
        if (!is_interactive()) {
            return Error{ErrorCode::invalid_argument,
                         "image prune removes " + std::to_string(plan.names.size()) +
                             " files and asks first, but there is no terminal",
                         "say --yes; --dry-run shows them"};
        }
        write_text(STDERR_FILENO, plan.text);
        if (!ask_yes_no("Remove them?", false))
            return Error{ErrorCode::interrupted, "nothing was removed"};
    }
    NOXSUP_TRY_VALUE(const auto reply, session.call(control::method::image_prune));
    return session.print(prune_document(reply.result, false));
}

}  // namespace noxsup::cli
