#include <algorithm>
#include <functional>
#include <set>

#include "imaging/catalog_entry.hpp"
#include "imaging/image.hpp"
#include "imaging/mirror.hpp"
#include "imaging/vendor_index.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

constexpr std::size_t max_entries = 1000;
constexpr std::size_t max_text = 500;

/// A word of an image's name: "debian", "13", "24.04".
bool is_word(std::string_view text) {
    return is_image_name(text) && text.size() <= 24 && text.find(':') == std::string_view::npos;
}

/// A file's name with its places for an architecture and for anything.
bool is_name_pattern(std::string_view pattern, bool may_vary) {
    if (!may_vary && pattern.find('*') != std::string_view::npos) return false;
    // A star or an architecture in their places; never a path.
    const auto sample = replace_all(replace_all(std::string(pattern), "{arch}", "x"), "*", "x");
    return is_plain_file_name(sample) && !pattern.starts_with('*');
}

bool is_plain_text(std::string_view text) {
    return is_valid_utf8(text) && std::ranges::none_of(text, [](char c) {
               return static_cast<unsigned char>(c) < 0x20 || c == '\x7f';
           });
}

bool is_absolute_path(std::string_view text) {
    return text.starts_with('/') && is_plain_text(text);
}

/// Reads one entry's members; the first error stays.
class EntryReader {
  public:
    EntryReader(const Json& object, std::string place, bool allow_http)
        : object_(object), place_(std::move(place)), allow_http_(allow_http) {}

    Result<CatalogEntry> read();

  private:
    [[nodiscard]] Error wrong(std::string_view member, const std::string& why) const {
        return {ErrorCode::invalid_argument,
                place_ + (member.empty() ? "" : "." + escape_for_terminal(member)) + " " + why};
    }
    using Check = std::function<bool(std::string_view)>;
    Result<> text(std::string_view member, std::string& into, bool needed, const Check& check,
                  const char* meaning);
    Result<> flag(std::string_view member, bool& into);
    Result<> check_members() const;
    Result<> read_arches();
    Result<> read_url();
    Result<> read_names();
    Result<> read_keyrings();

    const Json& object_;
    std::string place_;
    bool allow_http_;
    CatalogEntry entry_;
};

Result<> EntryReader::text(std::string_view member, std::string& into, bool needed,
                           const Check& check, const char* meaning) {
    const auto* value = detail::find_member(object_, member);
    if (value == nullptr) {
        if (needed) return wrong(member, "is missing");
        return {};
    }
    if (!value->is_string()) return wrong(member, "is no text");
    auto words = value->get<std::string>();
    if (words.size() > max_text) return wrong(member, "is too long");
    if (!check(words))
        return wrong(member, "is '" + escape_for_terminal(words) + "', but " + meaning);
    into = std::move(words);
    return {};
}

Result<> EntryReader::flag(std::string_view member, bool& into) {
    const auto* value = detail::find_member(object_, member);
    if (value == nullptr) return {};
    if (!value->is_boolean()) return wrong(member, "is neither true nor false");
    into = value->get<bool>();
    return {};
}

Result<> EntryReader::check_members() const {
    static const std::set<std::string, std::less<>> known{
        "os",        "release",     "codename",  "title",    "arches", "url",  "image",
        "checksums", "digest_name", "signature", "keyrings", "shell",  "doas", "default",
    };
    if (!object_.is_object()) return wrong("", "is no object");
    for (const auto& [key, value] : object_.items()) {
        if (!known.contains(key))
            return wrong(key, "is not known; there are: " +
                                  join(std::vector<std::string>(known.begin(), known.end()), ", "));
    }
    return {};
}

Result<> EntryReader::read_arches() {
    const auto* arches = detail::find_member(object_, "arches");
    if (arches == nullptr) return wrong("arches", "is missing");
    if (!arches->is_object() || arches->empty())
        return wrong("arches", "is no object like {\"arm64\": \"aarch64\"}");
    for (const auto& [ours, vendors] : arches->items()) {
        const auto member = "arches." + ours;
        if (ours != "arm64" && ours != "amd64")
            return wrong(member, "is no architecture: there are arm64 and amd64");
        if (!vendors.is_string() || !is_plain_file_name(vendors.get<std::string>()))
            return wrong(member, "is not the vendor's word for it, as in file names");
        entry_.arches[ours] = vendors.get<std::string>();
    }
    return {};
}

Result<> EntryReader::read_url() {
    const auto is_plain = [](std::string_view url) {
        return url.find_first_of("?#*") == std::string_view::npos;
    };
    NOXSUP_TRY(text("url", entry_.base_url, true, is_plain,
                    "it is the address of a directory, without ?, # and *"));
    while (entry_.base_url.ends_with('/')) entry_.base_url.pop_back();
    const auto sample = replace_all(entry_.base_url, "{arch}", "x");
    if (auto checked = check_image_url(sample, allow_http_); !checked)
        return wrong("url", "is not taken: " + checked.error().message);
    return {};
}

Result<> EntryReader::read_names() {
    const auto is_image = [](std::string_view name) { return is_name_pattern(name, true); };
    const auto is_list = [](std::string_view name) {
        constexpr std::string_view image = "{image}";
        if (!name.starts_with(image)) return is_name_pattern(name, true);
        return name.size() > image.size() && is_plain_file_name("x" + std::string(name.substr(7)));
    };
    const auto is_signature = [](std::string_view name) {
        return name == "inline" ||
               is_name_pattern(replace_all(std::string(name), "{checksums}", "x"), false);
    };
    constexpr auto file =
        "it is the name of a file: letters, digits and ._+~-, with {arch} and * where it varies";
    NOXSUP_TRY(text("image", entry_.image, true, is_image, file));
    NOXSUP_TRY(text("checksums", entry_.checksums, true, is_list,
                    "it is the name of a file, or {image} and the ending of a file beside it"));
    NOXSUP_TRY(text("digest_name", entry_.digest_name, false, is_image, file));
    return text("signature", entry_.signature, false, is_signature,
                "it is \"inline\" or the name of a file like {checksums}.gpg");
}

Result<> EntryReader::read_keyrings() {
    const auto* keyrings = detail::find_member(object_, "keyrings");
    if (keyrings == nullptr) return {};
    if (entry_.signature.empty()) return wrong("keyrings", "says nothing without signature");
    if (!keyrings->is_array()) return wrong("keyrings", "is no list");
    for (const auto& path : *keyrings) {
        if (!path.is_string() || !is_absolute_path(path.get<std::string>()))
            return wrong("keyrings", "holds something that is no absolute path");
        entry_.keyrings.push_back(path.get<std::string>());
    }
    return {};
}

Result<CatalogEntry> EntryReader::read() {
    NOXSUP_TRY(check_members());
    constexpr auto word = "it is a word of lower-case letters, digits, '.', '_' and '-'";
    NOXSUP_TRY(text("os", entry_.os, true, is_word, word));
    NOXSUP_TRY(text("release", entry_.release, true, is_word, word));
    NOXSUP_TRY(text("codename", entry_.codename, false, is_word, word));
    entry_.label = entry_.os;
    NOXSUP_TRY(text("title", entry_.label, false, is_plain_text, "it is a line of plain text"));
    NOXSUP_TRY(read_arches());
    NOXSUP_TRY(read_url());
    NOXSUP_TRY(read_names());
    NOXSUP_TRY(read_keyrings());
    NOXSUP_TRY(text("shell", entry_.shell, false, is_absolute_path, "it is an absolute path"));
    NOXSUP_TRY(flag("doas", entry_.doas));
    NOXSUP_TRY(flag("default", entry_.is_default));
    // The longest of the names that images get.
    if (!is_image_name(entry_.os + "-" + entry_.release + "-arm64"))
        return wrong("release", "makes no name for an image together with os");
    entry_.own = true;
    return std::move(entry_);
}

Result<std::vector<CatalogEntry>> read_images(const Json& json, bool allow_http) {
    const auto* version = detail::find_member(json, "version");
    if (version == nullptr || *version != 1)
        return Error{ErrorCode::invalid_argument, "version is not 1"};
    for (const auto& [key, value] : json.items()) {
        if (key != "version" && key != "images")
            return Error{ErrorCode::invalid_argument,
                         escape_for_terminal(key) + " is not known; there are: version, images"};
    }
    const auto* images = detail::find_member(json, "images");
    if (images == nullptr || !images->is_array())
        return Error{ErrorCode::invalid_argument, "images is no list"};
    if (images->size() > max_entries)
        return Error{ErrorCode::invalid_argument, "images has too many entries"};
    std::vector<CatalogEntry> entries;
    std::set<std::string> seen;
    for (std::size_t i = 0; i < images->size(); ++i) {
        const auto place = "images[" + std::to_string(i) + "]";
        NOXSUP_TRY_VALUE(auto entry, EntryReader((*images)[i], place, allow_http).read());
        if (!seen.insert(entry.os + ":" + entry.release).second)
            return Error{ErrorCode::invalid_argument,
                         place + " is " + entry.os + ":" + entry.release + " for the second time"};
        entries.push_back(std::move(entry));
    }
    return entries;
}

}  // namespace

Result<std::vector<CatalogEntry>> read_catalog(std::string_view text, std::string_view source,
                                               bool allow_http) {
    auto json = parse_json(text);
    Result<std::vector<CatalogEntry>> entries =
        Error{ErrorCode::invalid_argument, "it is no JSON object"};
    if (!json) {
        entries = Error{ErrorCode::invalid_argument, json.error().message};
    } else if (json->is_object()) {
        entries = read_images(*json, allow_http);
    }
    if (entries) return entries;
    auto error = std::move(entries).error();
    error.context(escape_for_terminal(source));
    error.hint = "mend the file, or move it away to go on with the built-in catalog";
    return error;
}

}  // namespace noxsup::imaging
