// The operating systems noxsup knows by name, where their images come from and how they are named.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "imaging/catalog_entry.hpp"
#include "imaging/mirror.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// One image of the catalog: an entry for one architecture. Only `*` is left in its names.
struct CatalogImage {
    std::string os;         ///< "debian"
    std::string release;    ///< "13"
    std::string codename;   ///< "trixie", what the image builder wants; or empty
    std::string arch;       ///< "arm64" or "amd64"
    std::string name;       ///< "debian-13-arm64": the name of its link in the store
    std::string label;      ///< "Debian"
    std::string directory;  ///< URL with a slash at its end
    std::string image;
    std::string checksums;  ///< "{image}" is left too: the name of the file that was found
    std::string digest_name;
    std::string signature;
    std::vector<std::string> keyrings;
    std::string shell;
    bool doas = false;
    bool own = false;                ///< from the user's file
    std::vector<std::string> names;  ///< what it may be asked for by: "debian:13", "debian", ...

    [[nodiscard]] std::string title() const;  ///< "Debian 13 (trixie) arm64"
    /// Where the image is; the directory where its name is known to the vendor's index alone.
    [[nodiscard]] std::string url() const;
    /// The image builder can make it from packages.
    [[nodiscard]] bool is_buildable() const { return os == "debian"; }
};

/// The built-in entries, and over them those of a file.
class Catalog {
  public:
    /// @param own_file of the user, read by reload(); it may be missing
    explicit Catalog(Mirror mirror = {}, std::filesystem::path own_file = {});

    /// Reads the user's file: an entry of an OS and release that we know replaces ours, others are
    /// added. Errors: as read_catalog(), and unreadable_file; only the built-in ones stay then.
    Result<> reload();

    /// `os` is "debian" (its default), "debian:12" or "debian:bookworm"; `arch` arm64 or amd64.
    /// Errors: image_not_found naming what there is; invalid_argument for another architecture.
    [[nodiscard]] Result<CatalogImage> find(std::string_view os, std::string_view arch) const;

    /// Everything for one architecture, an OS's default first; all architectures when it is empty.
    [[nodiscard]] std::vector<CatalogImage> available(std::string_view arch = {}) const;

    /// True when a name is one that catalog images have.
    [[nodiscard]] bool knows_name(std::string_view name) const;

    [[nodiscard]] const Mirror& mirror() const { return mirror_; }

  private:
    [[nodiscard]] std::string known_systems() const;
    [[nodiscard]] bool is_default(const CatalogEntry& entry) const;
    [[nodiscard]] CatalogImage make_image(const CatalogEntry& entry, std::string_view arch) const;
    void add(CatalogEntry entry);

    Mirror mirror_;
    std::filesystem::path own_file_;
    std::vector<CatalogEntry> entries_;
};

/// The architecture this program runs on: "arm64" or "amd64".
std::string_view host_arch();

}  // namespace noxsup::imaging
