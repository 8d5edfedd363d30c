// The operating systems noxsup knows by name, where their images come from and how they are named.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// Where vendor images come from: the vendor itself, or a mirror with the same layout.
struct Mirror {
    std::string base_url = "https://cloud.debian.org/images/cloud";  ///< without a slash at its end
    bool allow_http =
        false;            ///< plain http beyond loopback; an explicit choice of the administrator
    std::string ca_file;  ///< PEM file of further certificate authorities, or empty
};

/// Reads NOXSUP_IMAGE_MIRROR (URL), NOXSUP_IMAGE_CA_FILE (path) and NOXSUP_IMAGE_ALLOW_HTTP ("1")
/// over `configured`. Errors: invalid_argument for a URL that is not https (plain http: loopback or
/// allow_http).
Result<Mirror> mirror_from_environment(Mirror configured = {});

/// Only how servers are trusted: the last two. For addresses that are no mirror's.
Mirror trust_from_environment(Mirror configured = {});

/// Checks the URL of a mirror or an image. Errors: invalid_argument.
Result<> check_image_url(std::string_view url, bool allow_http);

/// One image of the catalog.
struct CatalogImage {
    std::string os;        ///< "debian"
    std::string release;   ///< "13"
    std::string codename;  ///< "trixie", what the image builder wants
    std::string arch;      ///< "arm64" or "amd64"
    std::string name;      ///< "debian-13-arm64": the name of its link in the store
    std::string image_url;
    std::string checksums_url;  ///< SHA512SUMS beside it
    std::string file_name;      ///< its line in SHA512SUMS

    [[nodiscard]] std::string title() const;  ///< "Debian 13 (trixie) arm64"
};

/// The built-in list.
class Catalog {
  public:
    explicit Catalog(Mirror mirror = {});

    /// `os` is "debian" (the newest), "debian:12" or "debian:bookworm"; `arch` arm64 or amd64.
    /// Errors: image_not_found naming what there is; invalid_argument for another architecture.
    [[nodiscard]] Result<CatalogImage> find(std::string_view os, std::string_view arch) const;

    /// Everything for one architecture, newest first; all architectures when it is empty.
    [[nodiscard]] std::vector<CatalogImage> available(std::string_view arch = {}) const;

    /// True when a name is one that catalog images have.
    [[nodiscard]] bool knows_name(std::string_view name) const;

    [[nodiscard]] const Mirror& mirror() const { return mirror_; }

  private:
    Mirror mirror_;
};

/// The architecture this program runs on: "arm64" or "amd64".
std::string_view host_arch();

}  // namespace noxsup::imaging
