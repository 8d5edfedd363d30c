#include "imaging/catalog.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

struct Release {
    std::string_view os;
    std::string_view number;
    std::string_view codename;
};

/// Newest first: a bare OS name means the first of its rows.
constexpr std::array releases{
    Release{"debian", "13", "trixie"},
    Release{"debian", "12", "bookworm"},
};

constexpr std::array<std::string_view, 2> architectures{"arm64", "amd64"};

CatalogImage make_entry(const Release& release, std::string_view arch, const Mirror& mirror) {
    CatalogImage image;
    image.os = release.os;
    image.release = release.number;
    image.codename = release.codename;
    image.arch = arch;
    image.name = image.os + "-" + image.release + "-" + image.arch;
    image.file_name = image.os + "-" + image.release + "-genericcloud-" + image.arch + ".qcow2";
    const auto directory = mirror.base_url + "/" + image.codename + "/latest/";
    image.image_url = directory + image.file_name;
    image.checksums_url = directory + "SHA512SUMS";
    return image;
}

std::string known_systems() {
    std::vector<std::string> names;
    names.reserve(releases.size());
    for (const auto& release : releases) {
        names.push_back(std::string(release.os) + ":" + std::string(release.number));
    }
    return join(names, ", ");
}

/// The host of "http://HOST[:PORT]/...", without the brackets of an IPv6 address.
std::string_view host_of(std::string_view after_scheme) {
    auto authority = after_scheme.substr(0, after_scheme.find_first_of("/?#"));
    if (const auto at = authority.rfind('@'); at != std::string_view::npos)
        authority.remove_prefix(at + 1);
    if (authority.starts_with('[')) {
        const auto close = authority.find(']');
        return close == std::string_view::npos ? std::string_view()
                                               : authority.substr(1, close - 1);
    }
    return authority.substr(0, authority.find(':'));
}

bool is_loopback(std::string_view host) {
    return host == "localhost" || host == "127.0.0.1" || host == "::1";
}

}  // namespace

Result<> check_image_url(std::string_view url, bool allow_http) {
    const auto bad = [&url](const char* why, const char* hint) {
        return Error{ErrorCode::invalid_argument, "URL " + escape_for_terminal(url) + ": " + why,
                     hint};
    };
    const auto separator = url.find("://");
    if (separator == std::string_view::npos)
        return bad("it has no scheme", "write https://HOST/PATH");
    const auto scheme = url.substr(0, separator);
    const auto host = host_of(url.substr(separator + 3));
    const auto is_plain = [](char c) { return c > ' ' && c < '\x7f'; };
    if (!std::ranges::all_of(url, is_plain))
        return bad("it holds spaces or control characters", "percent-encode them");
    if (scheme != "https" && scheme != "http") {
        return bad("only https is taken",
                   "download it yourself and run 'noxsup image import FILE'");
    }
    if (host.empty()) return bad("it names no host", "write https://HOST/PATH");
    if (scheme == "https" || allow_http || is_loopback(host)) return {};
    return bad("plain http can be changed on its way",
               "use https, or allow plain http for a mirror you trust (NOXSUP_IMAGE_ALLOW_HTTP=1)");
}

Mirror trust_from_environment(Mirror configured) {
    if (const char* file = std::getenv("NOXSUP_IMAGE_CA_FILE"); file != nullptr)
        configured.ca_file = file;
    if (const char* allow = std::getenv("NOXSUP_IMAGE_ALLOW_HTTP"); allow != nullptr) {
        configured.allow_http = std::string_view(allow) == "1";
    }
    return configured;
}

Result<Mirror> mirror_from_environment(Mirror configured) {
    if (const char* url = std::getenv("NOXSUP_IMAGE_MIRROR"); url != nullptr && *url != '\0') {
        configured.base_url = url;
    }
    configured = trust_from_environment(std::move(configured));
    while (configured.base_url.ends_with('/')) configured.base_url.pop_back();
    if (auto checked = check_image_url(configured.base_url, configured.allow_http); !checked) {
        return std::move(checked).error().context("image mirror");
    }
    return configured;
}

std::string CatalogImage::title() const {
    auto system = os;
    if (!system.empty()) system[0] = static_cast<char>(system[0] - 'a' + 'A');
    return system + " " + release + " (" + codename + ") " + arch;
}

Catalog::Catalog(Mirror mirror) : mirror_(std::move(mirror)) {}

Result<CatalogImage> Catalog::find(std::string_view os, std::string_view arch) const {
    if (std::ranges::find(architectures, arch) == architectures.end()) {
        return Error{ErrorCode::invalid_argument,
                     "unknown architecture '" + escape_for_terminal(arch) + "'",
                     "use arm64 or amd64"};
    }
    const auto colon = os.find(':');
    const auto system = os.substr(0, colon);
    const auto wanted = colon == std::string_view::npos ? std::string_view() : os.substr(colon + 1);
    for (const auto& release : releases) {
        if (release.os != system) continue;
        const bool any = colon == std::string_view::npos;
        if (any || release.number == wanted || release.codename == wanted) {
            return make_entry(release, arch, mirror_);
        }
    }
    return Error{
        ErrorCode::image_not_found, "unknown OS '" + escape_for_terminal(os) + "'",
        "there are: " + known_systems() + "; other images come by 'noxsup image import FILE'"};
}

std::vector<CatalogImage> Catalog::available(std::string_view arch) const {
    std::vector<CatalogImage> result;
    for (const auto& release : releases) {
        for (const auto each : architectures) {
            if (arch.empty() || arch == each) result.push_back(make_entry(release, each, mirror_));
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
