#include "imaging/image.hpp"

#include <algorithm>
#include <array>

namespace noxsup::imaging {
namespace {

constexpr int metadata_version = 1;

struct OriginRow {
    ImageOrigin origin;
    std::string_view name;
};
constexpr std::array origins{
    OriginRow{ImageOrigin::vendor, "vendor"},   OriginRow{ImageOrigin::built, "built"},
    OriginRow{ImageOrigin::import, "import"},   OriginRow{ImageOrigin::unknown, "unknown"},
    OriginRow{ImageOrigin::foreign, "foreign"},
};

}  // namespace

std::string_view origin_name(ImageOrigin origin) {
    return std::ranges::find(origins, origin, &OriginRow::origin)->name;
}

ImageOrigin origin_from_name(std::string_view name) {
    const auto* row = std::ranges::find(origins, name, &OriginRow::name);
    return row == origins.end() ? ImageOrigin::unknown : row->origin;
}

std::string Image::display_name() const {
    if (!names.empty()) return names.front();
    if (digest.empty()) return path.filename().string();
    return "sha256:" + digest.substr(0, 12);
}

std::string image_to_json(const Image& image) {
    Json json;
    json["version"] = metadata_version;
    json["sha256"] = image.digest;
    json["origin"] = origin_name(image.origin);
    json["os"] = image.os;
    json["release"] = image.release;
    json["arch"] = image.arch;
    json["vendor_sha512"] = image.vendor_sha512;
    if (!image.signed_by.empty()) json["signed_by"] = image.signed_by;
    json["source"] = image.source;
    json["created_at"] = image.created_at;
    json["virtual_bytes"] = image.virtual_bytes;
    return dump_json(json) + "\n";
}

Result<Image> image_from_json(std::string_view text) {
    NOXSUP_TRY_VALUE(const auto json, parse_json(text));
    NOXSUP_TRY_VALUE(const auto version, json_member<int>(json, "version"));
    if (version != metadata_version) {
        return Error{ErrorCode::protocol_error,
                     "image metadata of version " + std::to_string(version)};
    }
    Image image;
    NOXSUP_TRY_VALUE(image.digest, json_member<std::string>(json, "sha256"));
    if (!is_sha256(image.digest)) return Error{ErrorCode::protocol_error, "sha256 is no digest"};
    NOXSUP_TRY_VALUE(const auto origin, json_member<std::string>(json, "origin"));
    image.origin = origin_from_name(origin);
    NOXSUP_TRY_VALUE(image.os, json_member_or<std::string>(json, "os", ""));
    NOXSUP_TRY_VALUE(image.release, json_member_or<std::string>(json, "release", ""));
    NOXSUP_TRY_VALUE(image.arch, json_member_or<std::string>(json, "arch", ""));
    NOXSUP_TRY_VALUE(image.vendor_sha512, json_member_or<std::string>(json, "vendor_sha512", ""));
    NOXSUP_TRY_VALUE(image.signed_by, json_member_or<std::string>(json, "signed_by", ""));
    NOXSUP_TRY_VALUE(image.source, json_member_or<std::string>(json, "source", ""));
    NOXSUP_TRY_VALUE(image.created_at, json_member_or<std::string>(json, "created_at", ""));
    NOXSUP_TRY_VALUE(image.virtual_bytes, json_member<std::uint64_t>(json, "virtual_bytes"));
    return image;
}

bool is_sha256(std::string_view text) {
    return text.size() == 64 &&
           text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_image_name(std::string_view name) {
    constexpr std::string_view first = "abcdefghijklmnopqrstuvwxyz0123456789";
    constexpr std::string_view rest = "abcdefghijklmnopqrstuvwxyz0123456789._-";
    if (name.empty() || name.size() > 63 || first.find(name[0]) == std::string_view::npos)
        return false;
    if (name.find_first_not_of(rest) != std::string_view::npos) return false;
    // These would read as one of the store's own files or as a digest.
    for (const std::string_view suffix : {".qcow2", ".part", ".json", ".tmp", ".new"}) {
        if (name.ends_with(suffix)) return false;
    }
    return !name.starts_with("sha256-") && !name.starts_with("sha256.");
}

}  // namespace noxsup::imaging
