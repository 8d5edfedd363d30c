#include "imaging/catalog.hpp"

#include <algorithm>
#include <array>

#include "imaging/vendor_index.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

constexpr std::size_t catalog_file_limit = std::size_t{1} << 20;
constexpr std::array<std::string_view, 2> architectures{"arm64", "amd64"};

std::vector<CatalogEntry> builtin_from(const Mirror& mirror) {
    auto entries = builtin_catalog();
    for (auto& entry : entries) {
        const auto vendor = mirror.vendors.find(entry.os);
        if (entry.os == "debian") entry.base_url = mirror.base_url;
        if (vendor != mirror.vendors.end()) entry.base_url = vendor->second;
    }
    return entries;
}

}  // namespace

std::string CatalogImage::title() const {
    return label + " " + release + (codename.empty() ? "" : " (" + codename + ")") + " " + arch;
}

std::string CatalogImage::url() const {
    return image.find('*') == std::string::npos ? directory + image : directory;
}

Catalog::Catalog(Mirror mirror, std::filesystem::path own_file)
    : mirror_(std::move(mirror)), own_file_(std::move(own_file)), entries_(builtin_from(mirror_)) {}

Result<> Catalog::reload() {
    if (own_file_.empty()) return {};
    entries_ = builtin_from(mirror_);
    std::error_code failure;
    if (!std::filesystem::exists(own_file_, failure) && !failure) return {};
    auto text = read_file(own_file_, catalog_file_limit);
    if (!text) {
        auto error = std::move(text).error();
        error.code = ErrorCode::unreadable_file;
        return error;
    }
    NOXSUP_TRY_VALUE(auto own, read_catalog(*text, own_file_.string(), mirror_.allow_http));
    for (auto& entry : own) add(std::move(entry));
    return {};
}

void Catalog::add(CatalogEntry entry) {
    const auto same = std::ranges::find_if(entries_, [&entry](const CatalogEntry& known) {
        return known.os == entry.os && known.release == entry.release;
    });
    if (entry.is_default) {
        if (same != entries_.end()) entries_.erase(same);
        entries_.insert(std::ranges::find(entries_, entry.os, &CatalogEntry::os), std::move(entry));
    } else if (same != entries_.end()) {
        *same = std::move(entry);
    } else {
        // Behind the others of its OS.
        const auto last =
            std::ranges::find(entries_.rbegin(), entries_.rend(), entry.os, &CatalogEntry::os);
        entries_.insert(last == entries_.rend() ? entries_.end() : last.base(), std::move(entry));
    }
}

bool Catalog::is_default(const CatalogEntry& entry) const {
    return &*std::ranges::find(entries_, entry.os, &CatalogEntry::os) == &entry;
}

CatalogImage Catalog::make_image(const CatalogEntry& entry, std::string_view arch) const {
    const auto& word = entry.arches.find(std::string(arch))->second;
    const auto with_arch = [&word](const std::string& text) {
        return replace_all(text, "{arch}", word);
    };
    CatalogImage image;
    image.os = entry.os;
    image.release = entry.release;
    image.codename = entry.codename;
    image.arch = arch;
    image.name = entry.os + "-" + entry.release + "-" + image.arch;
    image.label = entry.label;
    image.directory = with_arch(entry.base_url + "/" + entry.path);
    image.image = with_arch(entry.image);
    image.checksums = with_arch(entry.checksums);
    image.digest_name = with_arch(entry.digest_name);
    image.signature = with_arch(entry.signature);
    image.keyrings = entry.keyrings;
    image.shell = entry.shell;
    image.doas = entry.doas;
    image.own = entry.own;
    image.names = {entry.os + ":" + entry.release};
    if (!entry.codename.empty()) image.names.push_back(entry.os + ":" + entry.codename);
    if (is_default(entry)) image.names.push_back(entry.os);
    return image;
}

std::string Catalog::known_systems() const {
    std::vector<std::string> names;
    names.reserve(entries_.size());
    for (const auto& entry : entries_) names.push_back(entry.os + ":" + entry.release);
    return join(names, ", ");
}

Result<CatalogImage> Catalog::find(std::string_view os, std::string_view arch) const {
    if (std::ranges::find(architectures, arch) == architectures.end()) {
        return Error{ErrorCode::invalid_argument,
                     "unknown architecture '" + escape_for_terminal(arch) + "'",
                     "use arm64 or amd64"};
    }
    const auto colon = os.find(':');
    const auto system = os.substr(0, colon);
    const bool any = colon == std::string_view::npos;
    const auto wanted = any ? std::string_view() : os.substr(colon + 1);
    for (const auto& entry : entries_) {
        if (entry.os != system) continue;
        const bool named = entry.release == wanted || (!wanted.empty() && entry.codename == wanted);
        if (!any && !named) continue;
        if (entry.arches.contains(std::string(arch))) return make_image(entry, arch);
        return Error{ErrorCode::image_not_found,
                     "there is no " + std::string(arch) + " image of " + entry.label + " " +
                         entry.release + " in the catalog",
                     "'noxsup image available' lists what there is"};
    }
    return Error{
        ErrorCode::image_not_found, "unknown OS '" + escape_for_terminal(os) + "'",
        "there are: " + known_systems() + "; other images come by 'noxsup image import FILE'"};
}

std::vector<CatalogImage> Catalog::available(std::string_view arch) const {
    std::vector<CatalogImage> result;
    for (const auto& entry : entries_) {
        for (const auto each : architectures) {
            const bool wanted = arch.empty() || arch == each;
            if (wanted && entry.arches.contains(std::string(each)))
                result.push_back(make_image(entry, each));
        }
    }
    return result;
}

bool Catalog::knows_name(std::string_view name) const {
    const auto all = available();
    return std::ranges::find(all, name, &CatalogImage::name) != all.end();
}

std::string_view host_arch() {
#if defined(__aarch64__)
    return "arm64";
#elif defined(__x86_64__)
    return "amd64";
#else
#error "noxsup knows arm64 and amd64"
#endif
}

}  // namespace noxsup::imaging
