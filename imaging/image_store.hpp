// The directory of base images: immutable files named by digest, links with names, metadata beside.
//
//   sha256-<64 hex>.qcow2   the image, 0444, never changed
//   sha256-<64 hex>.json    where it came from
//   debian-13-arm64.qcow2   -> sha256-<64 hex>.qcow2
//   NAME.part, NAME.part.json   a download on its way and what it is of
//   NAME.new.part           an image being built or converted
//   boot/<64 hex>/          what machines on that image load instead of firmware (boot_files.hpp)
//   .locks/NAME             flock(2) held by whoever makes NAME
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "imaging/image.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::imaging {

/// The digests that overlays stand on, as the caller knows them.
using UsedDigests = std::set<std::string>;

/// A file that prune() took.
struct Pruned {
    std::string file;         ///< its name in the directory
    std::uint64_t bytes = 0;  ///< that the file system gets back
};

/// Local, synchronous and short: nothing here reads image content. Regular files at image names (a
/// home that nox made) are listed as foreign and never touched.
class ImageStore {
  public:
    explicit ImageStore(std::filesystem::path directory);

    [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }

    /// Makes the directory (0755) when it is missing.
    Result<> prepare() const;

    /// Every image, by name; images without a name and foreign files last.
    [[nodiscard]] Result<std::vector<Image>> list() const;

    /// By name, by digest ("sha256:HEX", "sha256-HEX" or HEX, from 12 digits on) or by file name.
    /// Errors: image_not_found; invalid_argument for a digest that is not unique; wrong_state for a
    /// foreign file, with the import as the hint.
    [[nodiscard]] Result<Image> find(std::string_view name) const;

    /// The image that stands for an OS now: the link `name`, or where a foreign file holds that
    /// name the newest image of this OS, release and architecture. Nothing when there is none.
    [[nodiscard]] Result<std::optional<Image>> current(std::string_view name, std::string_view os,
                                                       std::string_view release,
                                                       std::string_view arch) const;

    /// The image with exactly this digest. Errors: image_not_found.
    [[nodiscard]] Result<Image> by_digest(std::string_view digest) const;

    /// A read-only descriptor of the image; checks that it is the regular file it should be.
    [[nodiscard]] Result<UniqueFd> open(const Image& image) const;

    /// The backing path for an overlay in `overlay_directory`: relative, as qemu-img -b wants it.
    [[nodiscard]] std::string backing_path(const Image& image,
                                           const std::filesystem::path& overlay_directory) const;

    /// Puts a complete, verified file into the store: metadata, fsync, 0444, rename to the digest's
    /// name, link. On an error nothing is at a final name and the link is as before. An image with
    /// the same digest stays as it is; `file` is removed then.
    /// @param file in this directory; gone afterwards  @param image digest and metadata
    /// @param name the link to set, or empty. A link moves; a foreign file at it stays.
    Result<Image> adopt(const std::filesystem::path& file, const Image& image,
                        std::string_view name) const;

    /// Points a name to an image that is in the store.
    Result<> set_name(std::string_view name, std::string_view digest) const;

    /// Removes a name, and with its last name (or asked for by digest) the image.
    /// Errors: image_not_found; image_in_use when `used` has it; wrong_state for a foreign file.
    Result<Image> remove(std::string_view name, const UsedDigests& used) const;

    /// Removes images that have no name and no overlay, and parts nobody is working on.
    /// @param only_look removes nothing. Returns what was removed, or would be.
    Result<std::vector<Pruned>> prune(const UsedDigests& used, bool only_look = false) const;

    /// Tries to lock a name against other makers; nothing when another has it. Closing unlocks.
    [[nodiscard]] Result<std::optional<UniqueFd>> try_lock(std::string_view name) const;

    /// Where a download of NAME grows, and where a new file for NAME is made from local bytes.
    [[nodiscard]] std::filesystem::path part_path(std::string_view name) const;
    [[nodiscard]] std::filesystem::path new_path(std::string_view name) const;
    [[nodiscard]] std::filesystem::path image_path(std::string_view digest) const;
    /// Goes with the image.
    [[nodiscard]] std::filesystem::path boot_directory(std::string_view digest) const;

  private:
    struct Entries;
    [[nodiscard]] Result<Entries> scan() const;
    [[nodiscard]] Image load(const std::string& digest) const;
    [[nodiscard]] bool is_foreign(std::string_view name) const;

    std::filesystem::path directory_;
};

}  // namespace noxsup::imaging
