#include "supervisor/state/template_store.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "supervisor/base/checksum.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/state/vm_store.hpp"

namespace noxsup::state {
namespace {

namespace fs = std::filesystem;

constexpr int format_version = 1;
constexpr std::size_t max_record_bytes = std::size_t{1} << 20;
constexpr auto record_file = "template.json";
constexpr std::string_view new_prefix = ".new-";
constexpr std::string_view old_prefix = ".old-";

Error wrong(const std::string& what) {
    return {ErrorCode::protocol_error, what};
}

/// The names below templates/ that begin as given; none where there is no such directory.
Result<std::vector<std::string>> names_in(const fs::path& directory, bool hidden) {
    std::vector<std::string> names;
    std::error_code failure;
    if (!fs::exists(directory, failure)) return names;
    for (fs::directory_iterator it(directory, failure), end; !failure && it != end;
         it.increment(failure)) {
        auto name = it->path().filename().string();
        if (name.starts_with('.') == hidden) names.push_back(std::move(name));
    }
    if (failure) return errno_error("read " + directory.string(), failure.value());
    std::ranges::sort(names);
    return names;
}

Result<> rename_in(const fs::path& parent, const fs::path& from, const fs::path& to) {
    if (::rename(from.c_str(), to.c_str()) != 0)
        return errno_error("rename " + from.string(), errno);
    return sync_directory(parent);
}

}  // namespace

std::string to_text(const Template& made) {
    const Json body{{"id", made.id},
                    {"spec", spec::to_json(made.spec)},
                    {"key", made.key},
                    {"disk_digest", made.disk_digest},
                    {"created_at", made.created_at}};
    const Json file{
        {"noxsup_template", format_version}, {"checksum", json_checksum(body)}, {"body", body}};
    return file.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<Template> parse_template(std::string_view text) {
    NOXSUP_TRY_VALUE(const auto file, parse_json(text));
    NOXSUP_TRY_VALUE(const auto version, json_member<int>(file, "noxsup_template"));
    if (version != format_version) return wrong("it is of another version of noxsup");
    NOXSUP_TRY_VALUE(const auto checksum, json_member<std::string>(file, "checksum"));
    NOXSUP_TRY_VALUE(const auto body, json_member<Json>(file, "body"));
    if (checksum != json_checksum(body)) return wrong("its checksum does not match");
    Template made;
    NOXSUP_TRY_VALUE(made.id, json_member<std::string>(body, "id"));
    NOXSUP_TRY_VALUE(const auto spec, json_member<Json>(body, "spec"));
    NOXSUP_TRY_VALUE(made.spec, spec::from_json(spec));
    NOXSUP_TRY_VALUE(made.key, json_member<std::vector<std::string>>(body, "key"));
    NOXSUP_TRY_VALUE(made.disk_digest, json_member<std::string>(body, "disk_digest"));
    NOXSUP_TRY_VALUE(made.created_at, json_member<std::string>(body, "created_at"));
    return made;
}

Result<TemplateList> TemplateStore::list() const {
    TemplateList list;
    NOXSUP_TRY_VALUE(const auto names, names_in(home_.templates(), false));
    for (const auto& name : names) {
        const auto text = read_file(directory(name) / record_file, max_record_bytes);
        auto made = text ? parse_template(*text) : Result<Template>(text.error());
        if (made && made->id != name) made = wrong("it says that it is another one");
        if (made) {
            list.templates.push_back(*std::move(made));
        } else {
            list.problems.push_back(directory(name).string() + ": " + made.error().message);
        }
    }
    std::ranges::stable_sort(list.templates, {}, &Template::created_at);
    return list;
}

Result<fs::path> TemplateStore::begin(std::string_view id) const {
    NOXSUP_TRY(make_directories(home_.templates(), 0700));
    auto path = home_.templates() / (std::string(new_prefix) + std::string(id));
    if (::mkdir(path.c_str(), 0700) != 0) return errno_error("make " + path.string(), errno);
    return path;
}

Result<> TemplateStore::finish(const fs::path& directory, const Template& made) const {
    NOXSUP_TRY(write_file_atomic(directory / record_file, to_text(made), 0600));
    return rename_in(home_.templates(), directory, this->directory(made.id));
}

Result<> TemplateStore::remove(std::string_view id) const {
    const auto hidden = home_.templates() / (std::string(old_prefix) + std::string(id));
    NOXSUP_TRY(rename_in(home_.templates(), directory(id), hidden));
    return remove_tree(hidden);
}

Result<> TemplateStore::sweep() const {
    NOXSUP_TRY_VALUE(const auto names, names_in(home_.templates(), true));
    for (const auto& name : names) {
        if (name.starts_with(new_prefix) || name.starts_with(old_prefix))
            NOXSUP_TRY(remove_tree(home_.templates() / name));
    }
    return {};
}

}  // namespace noxsup::state
