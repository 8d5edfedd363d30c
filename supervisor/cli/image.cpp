#include <filesystem>

#include "supervisor/base/text.hpp"
#include "supervisor/cli/inputs.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {
namespace {

std::string dash(std::string text) {
    return text.empty() ? "-" : text;
}

std::string release_text(const Json& image) {
    const auto os = text_at(image, "os");
    const auto release = text_at(image, "release");
    return release.empty() ? os : os + ":" + release;
}

Table image_table(const Json& images, bool for_people) {
    Table table{{"NAME", "OS", "ARCH", "ORIGIN", "SIZE", "FILE", "USED BY"}, {}};
    for (const auto& image : images) {
        const auto size = [&](const char* key) {
            const auto bytes = json_member<std::uint64_t>(image, key);
            if (!bytes) return std::string();
            return for_people ? format_bytes(*bytes) : std::to_string(*bytes);
        };
        std::vector<std::string> users;
        const auto* used_by = detail::find_member(image, "used_by");
        if (used_by != nullptr && used_by->is_array()) {
            for (const auto& name : *used_by) users.push_back(name.is_string() ? name : "");
        }
        std::vector<std::string> row = {text_at(image, "name"),
                                        release_text(image),
                                        text_at(image, "arch"),
                                        text_at(image, "origin"),
                                        size("virtual_bytes"),
                                        size("file_bytes"),
                                        join(users, for_people ? ", " : " ")};
        if (for_people) {
            for (auto& cell : row) cell = dash(std::move(cell));
        }
        table.rows.push_back(std::move(row));
    }
    return table;
}

Document image_document(const Json& images, std::string text) {
    Document document;
    document.json = {{"images", images}};
    document.table = image_table(images, false);
    document.text = std::move(text);
    for (const auto& image : images) document.names.push_back(text_at(image, "name"));
    return document;
}

/// One row an image; what `--os` takes, the shortest last: "debian:13, debian:trixie, debian".
Document available_document(const Json& images) {
    Document document;
    document.table.headings = {"OS", "ARCH", "HERE", "NAME", "TITLE"};
    auto people = document.table;
    for (const auto& image : images) {
        const bool here = !text_at(image, "here.digest").empty();
        std::vector<std::string> row = {text_at(image, "os"), text_at(image, "arch"),
                                        here ? "yes" : "no", text_at(image, "name"),
                                        text_at(image, "title")};
        document.names.push_back(row[3]);
        document.table.rows.push_back(row);
        row[0] = list_text_at(image, "names");
        people.rows.push_back(std::move(row));
    }
    document.json = {{"images", images}};
    document.text = format_table(people);
    return document;
}

std::string image_line(const Json& image, const std::string& verb) {
    auto text = text_at(image, "name") + " is " + verb;
    const auto digest = text_at(image, "digest");
    if (!digest.empty()) text += " (" + digest.substr(0, digest.find(':') + 13) + ")";
    return escape_for_terminal(text) + "\n";
}

/// Build and import give one image back.
Result<int> print_image(const Session& session, const Json& result, const std::string& verb) {
    NOXSUP_TRY_VALUE(const auto image, json_member<Json>(result, "image"));
    return session.print(image_document(Json::array({image}), image_line(image, verb)));
}

}  // namespace

Result<int> run_verb(Session& session, const ImageListOptions& /*options*/) {
    NOXSUP_TRY_VALUE(const auto reply, session.call(control::method::image_list));
    NOXSUP_TRY_VALUE(const auto images, json_member<Json>(reply.result, "images"));
    auto text = images.empty() ? "no images yet; create gets them, or: noxsup image pull debian\n"
                               : format_table(image_table(images, true));
    return session.print(image_document(images, std::move(text)));
}

Result<int> run_verb(Session& session, const ImageAvailableOptions& /*options*/) {
    NOXSUP_TRY_VALUE(const auto reply, session.call(control::method::image_available));
    NOXSUP_TRY_VALUE(const auto images, json_member<Json>(reply.result, "images"));
    return session.print(available_document(images));
}

Result<int> run_verb(Session& session, const ImagePullOptions& options) {
    auto params = Json::object();
    if (options.arch) params["arch"] = *options.arch;
    NOXSUP_TRY_VALUE(const auto replies,
                     session.call_each(control::method::image_pull, options.os, params, "os"));
    int exit = 0;
    auto images = Json::array();
    std::string text;
    for (const auto& [os, reply] : replies) {
        auto image =
            reply ? json_member<Json>(reply->result, "image") : Result<Json>(reply.error());
        if (image) {
            text += image_line(*image, "here");
            images.push_back(*std::move(image));
            continue;
        }
        print_error(image.error(), session.options());
        if (exit == 0) exit = exit_code_of(image.error().code);
    }
    if (!images.empty()) session.print(image_document(images, std::move(text)));
    return exit;
}

Result<int> run_verb(Session& session, const ImageBuildOptions& options) {
    Json params = {{"os", options.os}};
    if (options.arch) params["arch"] = *options.arch;
    if (options.mirror) params["mirror"] = *options.mirror;
    NOXSUP_TRY_VALUE(const auto reply, session.call(control::method::image_build, params));
    return print_image(session, reply.result, "built");
}

Result<int> run_verb(Session& session, const ImageImportOptions& options) {
    NOXSUP_TRY_VALUE(const auto file, open_image_file(options.file));
    Json params = {{"fd", 0},
                   {"source", std::filesystem::path(options.file).filename().string()},
                   {"raw", options.raw}};
    if (options.name) params["name"] = *options.name;
    if (options.os) params["os"] = *options.os;
    if (options.arch) params["arch"] = *options.arch;
    NOXSUP_TRY_VALUE(const auto reply,
                     session.call(control::method::image_import, params, {file.get()}));
    return print_image(session, reply.result, "imported");
}

Result<int> run_verb(Session& session, const ImageRemoveOptions& options) {
    NOXSUP_TRY_VALUE(const auto replies, session.call_each(control::method::image_remove,
                                                           options.names, Json::object()));
    int exit = 0;
    Document document;
    auto removed = Json::array();
    document.table.headings = {"NAME"};
    for (const auto& [name, reply] : replies) {
        if (!reply) {
            print_error(reply.error(), session.options());
            if (exit == 0) exit = exit_code_of(reply.error().code);
            continue;
        }
        removed.push_back(name);
        document.table.rows.push_back({name});
        document.names.push_back(name);
        document.text += escape_for_terminal(name) + " is removed\n";
    }
    if (removed.empty()) return exit;
    document.json = {{"removed", std::move(removed)}};
    session.print(document);
    return exit;
}

}  // namespace noxsup::cli
