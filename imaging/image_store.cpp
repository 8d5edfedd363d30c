#include "imaging/image_store.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>

#include "supervisor/base/file.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/random.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view suffix = ".qcow2";
constexpr std::size_t metadata_limit = std::size_t{64} << 10;
constexpr std::size_t shortest_digest = 12;

/// The digest in "sha256-HEX.qcow2", or nothing.
std::optional<std::string> digest_of_file_name(std::string_view file) {
    constexpr std::string_view prefix = "sha256-";
    if (!file.starts_with(prefix) || !file.ends_with(suffix)) return std::nullopt;
    file.remove_prefix(prefix.size());
    file.remove_suffix(suffix.size());
    if (!is_sha256(file)) return std::nullopt;
    return std::string(file);
}

/// The digest that a link in the store points to, or nothing for a link of someone else.
std::optional<std::string> digest_of_link(const fs::path& link) {
    std::error_code failure;
    const auto target = fs::read_symlink(link, failure);
    if (failure) return std::nullopt;
    return digest_of_file_name(target.string());
}

Error not_found(std::string_view name) {
    return {ErrorCode::image_not_found, "no image '" + escape_for_terminal(name) + "'",
            "'noxsup image ls' shows those there are"};
}

Error foreign_error(std::string_view name) {
    return {ErrorCode::wrong_state,
            "'" + escape_for_terminal(name) + "' is a file that noxsup did not make",
            "it stays untouched; 'noxsup image import FILE' makes an image of it"};
}

/// What the user wrote as a digest, without its prefix; empty when it is none.
std::string_view as_digest(std::string_view name) {
    for (const std::string_view prefix : {"sha256:", "sha256-"}) {
        if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
    }
    if (name.ends_with(suffix)) name.remove_suffix(suffix.size());
    const bool digits = name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
    return digits && name.size() >= shortest_digest && name.size() <= 64 ? name
                                                                         : std::string_view();
}

Result<> remove_file(const fs::path& path) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
        return errno_error("remove " + path.string(), errno);
    return {};
}

std::uint64_t bytes_on_disk(const fs::path& file) {
    struct stat info {};
    constexpr std::uint64_t block = 512;
    return ::lstat(file.c_str(), &info) == 0 ? static_cast<std::uint64_t>(info.st_blocks) * block
                                             : 0;
}

}  // namespace

/// One look at the directory.
struct ImageStore::Entries {
    std::vector<std::string> digests;
    std::map<std::string, std::string> links;  ///< name to digest
    std::vector<std::string> foreign;          ///< file names
    std::vector<std::string> parts;            ///< file names
};

ImageStore::ImageStore(fs::path directory) : directory_(std::move(directory)) {}

Result<> ImageStore::prepare() const {
    return make_directories(directory_, 0755);
}

fs::path ImageStore::boot_directory(std::string_view digest) const {
    return directory_ / "boot" / digest;
}

fs::path ImageStore::image_path(std::string_view digest) const {
    return directory_ / ("sha256-" + std::string(digest) + std::string(suffix));
}

fs::path ImageStore::part_path(std::string_view name) const {
    return directory_ / (std::string(name) + ".part");
}

fs::path ImageStore::new_path(std::string_view name) const {
    return directory_ / (std::string(name) + ".new.part");
}

Result<ImageStore::Entries> ImageStore::scan() const {
    Entries entries;
    std::error_code failure;
    fs::directory_iterator it(directory_, failure);
    if (failure == std::errc::no_such_file_or_directory) return entries;
    if (failure) return errno_error("read " + directory_.string(), failure.value());
    for (; it != fs::directory_iterator(); it.increment(failure)) {
        const auto file = it->path().filename().string();
        std::error_code ignored;
        const auto type = it->symlink_status(ignored).type();
        const auto digest = digest_of_file_name(file);
        if (type == fs::file_type::symlink && file.ends_with(suffix)) {
            auto name = file.substr(0, file.size() - suffix.size());
            if (auto target = digest_of_link(it->path()))
                entries.links.emplace(std::move(name), *target);
        } else if (type != fs::file_type::regular) {
            continue;
        } else if (digest) {
            entries.digests.push_back(*digest);
        } else if (file.ends_with(suffix)) {
            entries.foreign.push_back(file);
        } else if (file.ends_with(".part") || file.ends_with(".part.json")) {
            entries.parts.push_back(file);
        }
        if (failure) return errno_error("read " + directory_.string(), failure.value());
    }
    // A link to an image that is gone names nothing.
    std::ranges::sort(entries.digests);
    std::erase_if(entries.links, [&entries](const auto& link) {
        return !std::ranges::binary_search(entries.digests, link.second);
    });
    std::ranges::sort(entries.foreign);
    std::ranges::sort(entries.parts);
    return entries;
}

Image ImageStore::load(const std::string& digest) const {
    Image image;
    auto metadata_path = image_path(digest).replace_extension(".json");
    if (auto text = read_file(metadata_path, metadata_limit)) {
        auto read = image_from_json(*text);
        if (read && read->digest == digest) {
            image = std::move(*read);
        } else {
            log_warning("image metadata " + metadata_path.string() +
                        " is damaged; the image stays usable");
        }
    }
    image.digest = digest;
    image.path = image_path(digest);
    std::error_code ignored;
    const auto bytes = fs::file_size(image.path, ignored);
    image.file_bytes = ignored ? 0 : bytes;
    return image;
}

Result<std::vector<Image>> ImageStore::list() const {
    NOXSUP_TRY_VALUE(const auto entries, scan());
    std::vector<Image> images;
    for (const auto& digest : entries.digests) {
        auto image = load(digest);
        for (const auto& [name, target] : entries.links) {
            if (target == digest) image.names.push_back(name);
        }
        images.push_back(std::move(image));
    }
    std::ranges::sort(images, [](const Image& a, const Image& b) {
        if (a.names.empty() != b.names.empty()) return b.names.empty();
        return a.names != b.names ? a.names < b.names : a.digest < b.digest;
    });
    for (const auto& file : entries.foreign) {
        Image image;
        image.origin = ImageOrigin::foreign;
        image.path = directory_ / file;
        image.names = {file.substr(0, file.size() - suffix.size())};
        std::error_code ignored;
        const auto bytes = fs::file_size(image.path, ignored);
        image.file_bytes = ignored ? 0 : bytes;
        images.push_back(std::move(image));
    }
    return images;
}

Result<Image> ImageStore::find(std::string_view name) const {
    NOXSUP_TRY_VALUE(auto images, list());
    auto plain = name;
    if (plain.ends_with(suffix)) plain.remove_suffix(suffix.size());
    const auto digest = as_digest(name);
    const Image* found = nullptr;
    for (const auto& image : images) {
        const bool named = std::ranges::find(image.names, plain) != image.names.end();
        if (named && image.origin == ImageOrigin::foreign) return foreign_error(name);
        if (named) return image;
        if (digest.empty() || !image.digest.starts_with(digest)) continue;
        if (found != nullptr) {
            return Error{ErrorCode::invalid_argument,
                         "several images have a digest that starts with " + std::string(digest)};
        }
        found = &image;
    }
    if (found == nullptr) return not_found(name);
    return *found;
}

Result<Image> ImageStore::by_digest(std::string_view digest) const {
    NOXSUP_TRY_VALUE(auto images, list());
    const auto found = std::ranges::find(images, digest, &Image::digest);
    if (digest.empty() || found == images.end()) return not_found("sha256:" + std::string(digest));
    return std::move(*found);
}

Result<std::optional<Image>> ImageStore::current(std::string_view name, std::string_view os,
                                                 std::string_view release,
                                                 std::string_view arch) const {
    NOXSUP_TRY_VALUE(auto images, list());
    std::optional<Image> newest;
    for (auto& image : images) {
        if (image.origin == ImageOrigin::foreign) continue;
        if (std::ranges::find(image.names, name) != image.names.end())
            return std::optional(std::move(image));
        if (image.os != os || image.release != release || image.arch != arch) continue;
        if (!newest || image.created_at > newest->created_at) newest = std::move(image);
    }
    // Without a foreign file in the way a missing link means that the user removed the name.
    if (!is_foreign(name)) return std::optional<Image>();
    return newest;
}

bool ImageStore::is_foreign(std::string_view name) const {
    const auto path = directory_ / (std::string(name) + std::string(suffix));
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return false;
    return !S_ISLNK(info.st_mode) || !digest_of_link(path);
}

Result<UniqueFd> ImageStore::open(const Image& image) const {
    NOXSUP_TRY_VALUE(auto fd, open_file(image.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return errno_error("stat " + image.path.string(), errno);
    if (!S_ISREG(info.st_mode)) {
        return Error{ErrorCode::unreadable_file, image.path.string() + " is not a regular file"};
    }
    return fd;
}

std::string ImageStore::backing_path(const Image& image, const fs::path& overlay_directory) const {
    return image.path.lexically_relative(overlay_directory).string();
}

Result<Image> ImageStore::adopt(const fs::path& file, const Image& image,
                                std::string_view name) const {
    if (!is_sha256(image.digest)) {
        return Error{ErrorCode::invalid_argument, "'" + image.digest + "' is no SHA-256 digest"};
    }
    const auto target = image_path(image.digest);
    std::error_code ignored;
    if (fs::exists(fs::symlink_status(target, ignored))) {
        NOXSUP_TRY(remove_file(file));
    } else {
        NOXSUP_TRY_VALUE(const auto fd, open_file(file, O_RDONLY | O_NOFOLLOW));
        if (::fchmod(fd.get(), 0444) != 0) return errno_error("chmod " + file.string(), errno);
        if (::fsync(fd.get()) != 0) return errno_error("fsync " + file.string(), errno);
        // Metadata first: an image is never there without it.
        auto metadata_path = target;
        metadata_path.replace_extension(".json");
        NOXSUP_TRY(write_file_atomic(metadata_path, image_to_json(image), 0644));
        if (::rename(file.c_str(), target.c_str()) != 0) {
            auto failure = errno_error("rename to " + target.string(), errno);
            ::unlink(metadata_path.c_str());
            return failure;
        }
        NOXSUP_TRY(sync_directory(directory_));
    }
    if (!name.empty() && !is_foreign(name)) NOXSUP_TRY(set_name(name, image.digest));
    return by_digest(image.digest);
}

Result<> ImageStore::set_name(std::string_view name, std::string_view digest) const {
    if (!is_image_name(name)) {
        return Error{ErrorCode::invalid_name,
                     "'" + escape_for_terminal(name) + "' is no name for an image",
                     "lower-case letters, digits, '.', '_' and '-', at most 63"};
    }
    if (is_foreign(name)) return foreign_error(name);
    const auto link = directory_ / (std::string(name) + std::string(suffix));
    if (digest_of_link(link) == std::string(digest)) return {};
    const auto temporary = directory_ / ("." + std::string(name) + "." + random_hex(6) + ".tmp");
    const auto target = image_path(digest).filename();
    if (::symlink(target.c_str(), temporary.c_str()) != 0) {
        return errno_error("link " + link.string(), errno);
    }
    if (::rename(temporary.c_str(), link.c_str()) != 0) {
        auto failure = errno_error("rename to " + link.string(), errno);
        ::unlink(temporary.c_str());
        return failure;
    }
    return sync_directory(directory_);
}

Result<Image> ImageStore::remove(std::string_view name, const UsedDigests& used) const {
    NOXSUP_TRY_VALUE(auto image, find(name));
    if (used.contains(image.digest)) {
        return Error{ErrorCode::image_in_use,
                     "image " + image.display_name() + " is the base of a VM's disk",
                     "delete those VMs first; 'noxsup image ls' shows the images in use"};
    }
    auto plain = name;
    if (plain.ends_with(suffix)) plain.remove_suffix(suffix.size());
    const bool by_name = std::ranges::find(image.names, plain) != image.names.end();
    if (by_name && image.names.size() > 1) {
        NOXSUP_TRY(remove_file(directory_ / (std::string(plain) + std::string(suffix))));
        NOXSUP_TRY(sync_directory(directory_));
        return image;
    }
    for (const auto& each : image.names) {
        NOXSUP_TRY(remove_file(directory_ / (each + std::string(suffix))));
    }
    NOXSUP_TRY(remove_file(image.path));
    auto metadata_path = image.path;
    NOXSUP_TRY(remove_file(metadata_path.replace_extension(".json")));
    std::error_code failure;
    if (!image.digest.empty()) fs::remove_all(boot_directory(image.digest), failure);
    if (failure) return errno_error("remove what machines load of the image", failure.value());
    NOXSUP_TRY(sync_directory(directory_));
    return image;
}

Result<std::vector<Pruned>> ImageStore::prune(const UsedDigests& used, bool only_look) const {
    NOXSUP_TRY_VALUE(const auto images, list());
    NOXSUP_TRY_VALUE(const auto entries, scan());
    std::vector<Pruned> pruned;
    for (const auto& image : images) {
        const bool nameless = image.names.empty() && image.origin != ImageOrigin::foreign;
        if (!nameless || used.contains(image.digest)) continue;
        Pruned file{image.path.filename().string(), bytes_on_disk(image.path)};
        if (!only_look) NOXSUP_TRY(remove("sha256:" + image.digest, used));
        pruned.push_back(std::move(file));
    }
    for (const auto& part : entries.parts) {
        // "NAME.part", "NAME.part.json", "NAME.new.part"; NAME is what its maker holds the lock of.
        auto name = part.substr(0, part.rfind(".part"));
        if (name.ends_with(".new")) name.resize(name.size() - 4);
        NOXSUP_TRY_VALUE(const auto held, try_lock(name));
        if (!held) continue;
        Pruned file{part, bytes_on_disk(directory_ / part)};
        if (!only_look) NOXSUP_TRY(remove_file(directory_ / part));
        pruned.push_back(std::move(file));
    }
    return pruned;
}

Result<std::optional<UniqueFd>> ImageStore::try_lock(std::string_view name) const {
    NOXSUP_TRY(make_directories(directory_ / ".locks", 0755));
    const auto path = directory_ / ".locks" / name;
    NOXSUP_TRY_VALUE(auto fd, open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0644));
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return std::optional(std::move(fd));
    if (errno == EWOULDBLOCK) return std::optional<UniqueFd>();
    return errno_error("lock " + path.string(), errno);
}

}  // namespace noxsup::imaging
