#include "imaging/nocloud_documents.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "imaging/cloud_config.hpp"
#include "imaging/gunzip.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

constexpr int max_nesting = 4;

struct Beginning {
    std::string_view prefix;  ///< lower case
    std::string_view type;
};

// cloud-init, handlers: a text is what it begins with; longer prefixes first.
constexpr std::array<Beginning, 12> beginnings{
    {{"text/x-shellscript-per-instance", "text/x-shellscript-per-instance"},
     {"text/x-shellscript-per-boot", "text/x-shellscript-per-boot"},
     {"text/x-shellscript-per-once", "text/x-shellscript-per-once"},
     {"#cloud-config-archive", "text/cloud-config-archive"},
     {"#cloud-config-jsonp", "text/cloud-config-jsonp"},
     {"## template: jinja", "text/jinja2"},
     {"#cloud-boothook", "text/cloud-boothook"},
     {"#cloud-config", "text/cloud-config"},
     {"#include-once", "text/x-include-once-url"},
     {"#part-handler", "text/part-handler"},
     {"#include", "text/x-include-url"},
     {"#!", "text/x-shellscript"}}};

// Types that go to the guest as they are.
constexpr std::array<std::string_view, 8> opaque_types{"text/x-shellscript",
                                                       "text/x-shellscript-per-boot",
                                                       "text/x-shellscript-per-instance",
                                                       "text/x-shellscript-per-once",
                                                       "text/x-include-url",
                                                       "text/x-include-once-url",
                                                       "text/cloud-boothook",
                                                       "text/part-handler"};

constexpr std::array<std::string_view, 8> gzip_types{
    "application/gzip",       "application/gzip-compressed",  "application/gzipped",
    "application/x-compress", "application/x-compressed",     "application/x-gunzip",
    "application/x-gzip",     "application/x-gzip-compressed"};

constexpr std::string_view known_forms =
    "a document begins with #cloud-config, #cloud-config-archive, #!, #include, #include-once, "
    "#cloud-boothook, #part-handler or ## template: jinja, or is a MIME message, or gzip of one";

Error refused(std::string message, std::string_view hint = {}) {
    return {ErrorCode::invalid_cloud_init, std::move(message), std::string(hint)};
}

/// The type by beginning, or nothing. White space before it does not count, nor does case.
std::string_view type_of(std::string_view text) {
    const auto start = text.find_first_not_of(" \t\r\n\v\f");
    if (start == std::string_view::npos) return {};
    text.remove_prefix(start);
    for (const auto& [prefix, type] : beginnings) {
        if (text.size() < prefix.size()) continue;
        const bool same = std::ranges::equal(text.substr(0, prefix.size()), prefix, {}, [](char c) {
            return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        });
        if (same) return type;
    }
    return {};
}

bool is_token(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
               c == '+' || c == '_';
    });
}

bool is_type_name(std::string_view type) {
    const auto slash = type.find('/');
    return slash != std::string_view::npos && is_token(type.substr(0, slash)) &&
           is_token(type.substr(slash + 1));
}

class Reader {
  public:
    Result<> add_document(std::string_view content);
    [[nodiscard]] UserParts finish() && { return std::move(parts_); }

  private:
    Result<> add_part(MimePart part, int nesting);
    Result<> check_headers(const MimePart& part) const;
    Result<std::string> decompress(std::string_view data) const;
    Result<> keep(MimePart part);

    UserParts parts_;
    std::size_t bytes_ = 0;
    bool has_part_handler_ = false;
};

Result<std::string> Reader::decompress(std::string_view data) const {
    return gunzip(data, max_documents_bytes);
}

Result<> Reader::add_document(std::string_view content) {
    if (content.size() > max_document_bytes) {
        return refused("it is larger than " + format_bytes(max_document_bytes));
    }
    std::string plain;
    if (is_gzip(content)) {
        NOXSUP_TRY_VALUE(plain, decompress(content));
        content = plain;
    }
    // cloud-init knows no byte order mark, Windows editors write one.
    if (content.starts_with("\xef\xbb\xbf")) content.remove_prefix(3);
    if (trim(content).empty()) return refused("it is empty", known_forms);
    if (const auto type = type_of(content); !type.empty()) {
        MimePart part;
        part.content_type = type;
        part.content = content;
        return add_part(std::move(part), 1);
    }
    if (!looks_like_mime(content)) return refused("it is of no known type", known_forms);
    NOXSUP_TRY_VALUE(auto leaves, parse_mime(content));
    for (auto& leaf : leaves) NOXSUP_TRY(add_part(std::move(leaf), 1));
    return {};
}

Result<> Reader::check_headers(const MimePart& part) const {
    if (!part.merge_type.empty()) {
        return refused("it has a Merge-Type header",
                       "leave it out: noxsup merges its own part behind yours");
    }
    if (!is_type_name(part.content_type)) {
        return refused("a part has the content type '" + escape_for_terminal(part.content_type) +
                       "', which is none");
    }
    const bool digits =
        std::ranges::all_of(part.launch_index, [](char c) { return c >= '0' && c <= '9'; });
    if (!digits || part.launch_index.size() > 9) return refused("its Launch-Index is no number");
    return {};
}

Result<> Reader::add_part(MimePart part, int nesting) {
    if (nesting > max_nesting) return refused("archives nest too deeply");
    if (part.content_type.empty()) {
        const auto type = type_of(part.content);
        part.content_type = type.empty() ? "text/cloud-config" : type;
    }
    NOXSUP_TRY(check_headers(part));
    if (std::ranges::find(gzip_types, part.content_type) != gzip_types.end()) {
        NOXSUP_TRY_VALUE(part.content, decompress(part.content));
        part.content_type = "text/plain";
    }
    // cloud-init looks into these three, whatever their header says.
    const bool examined = part.content_type == "text/plain" ||
                          part.content_type == "text/x-not-multipart" ||
                          part.content_type == "text/x-shellscript";
    if (examined) {
        if (const auto type = type_of(part.content); !type.empty()) part.content_type = type;
    }
    const auto& type = part.content_type;
    if (type == "text/cloud-config-archive") {
        NOXSUP_TRY_VALUE(auto entries, explode_archive(part.content));
        for (auto& entry : entries) NOXSUP_TRY(add_part(std::move(entry), nesting + 1));
        return {};
    }
    if (type == "text/cloud-config") {
        NOXSUP_TRY_VALUE(const auto facts, check_cloud_config(part.content));
        parts_.sets_apt = parts_.sets_apt || facts.sets_apt;
    } else if (type == "text/cloud-config-jsonp") {
        NOXSUP_TRY(check_json_patch(part.content));
    } else if (type == "text/jinja2") {
        NOXSUP_TRY(check_template(part.content));
    } else if (type == "text/part-handler") {
        has_part_handler_ = true;
    } else if (std::ranges::find(opaque_types, type) == opaque_types.end() && !has_part_handler_) {
        return refused("a part of type " + type + " is nothing that cloud-init knows", known_forms);
    }
    return keep(std::move(part));
}

Result<> Reader::keep(MimePart part) {
    bytes_ += part.content.size();
    if (bytes_ > max_documents_bytes) {
        return refused("all documents together hold more than " +
                       format_bytes(max_documents_bytes));
    }
    parts_.parts.push_back(std::move(part));
    return {};
}

}  // namespace

Result<UserParts> read_documents(const std::vector<UserDocument>& documents) {
    Reader reader;
    for (const auto& document : documents) {
        if (auto added = reader.add_document(document.content); !added) {
            auto error = std::move(added).error();
            error.code = ErrorCode::invalid_cloud_init;
            error.context("cloud-init document " + escape_for_terminal(document.name));
            return error;
        }
    }
    return std::move(reader).finish();
}

}  // namespace noxsup::imaging
