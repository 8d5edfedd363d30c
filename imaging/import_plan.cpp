#include "imaging/import_plan.hpp"

#include <algorithm>
#include <array>
#include <ctime>

#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

constexpr std::size_t max_name = 63;

std::string now_rfc3339() {
    const auto now = std::time(nullptr);
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    std::array<char, 32> text{};
    const auto length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return {text.data(), length};
}

/// "Debian 13 Cloud.qcow2.xz" or the end of a URL to "debian-13-cloud".
std::string name_from_source(std::string_view source) {
    source = source.substr(0, source.find_first_of("?#"));
    source = source.substr(source.rfind('/') == std::string_view::npos ? 0 : source.rfind('/') + 1);
    std::string name;
    for (const char c : source) {
        const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        const bool kept = (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9') ||
                          lower == '.' || lower == '_';
        name += kept ? lower : '-';
    }
    for (bool again = true; again;) {
        again = false;
        for (const std::string_view suffix :
             {".qcow2", ".img", ".raw", ".xz", ".gz", ".zst", ".bz2", ".lz4", ".tar", ".part",
              ".json", ".tmp", ".new"}) {
            if (!name.ends_with(suffix)) continue;
            name.resize(name.size() - suffix.size());
            again = true;
        }
    }
    name.erase(0, std::min(name.find_first_not_of("-._"), name.size()));
    if (name.size() > max_name) name.resize(max_name);
    return name;
}

/// The name itself, or with -2, -3, ... behind it: the first that nothing has. One that stands for
/// an OS is never free, or the next create of that OS would take this image for the vendor's.
Result<std::string> free_name(const Catalog& catalog, const ImageStore& store, std::string wanted) {
    if (!is_image_name(wanted)) wanted = "image";
    for (int number = 1;; ++number) {
        const auto suffix = number == 1 ? std::string() : "-" + std::to_string(number);
        auto name = wanted.substr(0, max_name - suffix.size()) + suffix;
        if (catalog.knows_name(name)) continue;
        const auto existing = store.find(name);
        // A foreign file has it, or it reads as the digest of several.
        const bool taken = existing || existing.error().code == ErrorCode::wrong_state ||
                           existing.error().code == ErrorCode::invalid_argument;
        if (taken) continue;
        if (existing.error().code != ErrorCode::image_not_found) return existing.error();
        return name;
    }
}

}  // namespace

Image catalog_metadata(const CatalogImage& entry, ImageOrigin origin) {
    Image image;
    image.origin = origin;
    image.os = entry.os;
    image.release = entry.release;
    image.arch = entry.arch;
    image.created_at = now_rfc3339();
    return image;
}

Result<ImportPlan> plan_import(const Catalog& catalog, const ImageStore& store,
                               const ImportWish& wish) {
    ImportPlan plan;
    plan.metadata.origin = ImageOrigin::import;
    plan.metadata.arch = wish.arch;
    plan.name = wish.name;
    plan.any_name = wish.any_name;
    bool may_replace = false;
    if (!wish.os.empty()) {
        NOXSUP_TRY_VALUE(const auto entry,
                         catalog.find(wish.os, wish.arch.empty() ? host_arch() : wish.arch));
        plan.metadata = catalog_metadata(entry, ImageOrigin::import);
        if (plan.name.empty()) plan.name = entry.name;
        may_replace = plan.name == entry.name;
    }
    plan.metadata.source = wish.source;
    plan.metadata.created_at = now_rfc3339();
    if (plan.name.empty()) plan.name = name_from_source(wish.source);
    if (wish.any_name) {
        NOXSUP_TRY_VALUE(plan.name, free_name(catalog, store, plan.name));
        return plan;
    }
    if (!is_image_name(plan.name)) {
        return Error{
            ErrorCode::invalid_name,
            "'" + escape_for_terminal(plan.name) + "' is no name for an image",
            "lower-case letters, digits, '.', '_' and '-', at most 63; give one with --name"};
    }
    const auto existing = store.find(plan.name);
    if (!existing && existing.error().code == ErrorCode::wrong_state) return existing.error();
    if (existing && !may_replace) {
        return Error{ErrorCode::already_exists, "image " + plan.name + " exists already",
                     "give another name with --name, or remove it: noxsup image rm " + plan.name};
    }
    return plan;
}

}  // namespace noxsup::imaging
