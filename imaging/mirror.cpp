#include "imaging/mirror.hpp"

#include <algorithm>
#include <cstdlib>

#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

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
    const auto check = [&configured](std::string& url) {
        while (url.ends_with('/')) url.pop_back();
        return check_image_url(url, configured.allow_http);
    };
    if (auto checked = check(configured.base_url); !checked)
        return std::move(checked).error().context("image mirror");
    for (auto& [os, url] : configured.vendors) {
        if (auto checked = check(url); !checked)
            return std::move(checked).error().context("image mirror of " + escape_for_terminal(os));
    }
    return configured;
}

}  // namespace noxsup::imaging
