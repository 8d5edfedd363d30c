#include "supervisor/daemon/overlay_bases.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <span>

#include "imaging/image.hpp"
#include "imaging/qcow2_header.hpp"
#include "supervisor/base/file.hpp"

namespace noxsup::daemon {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view own_disk = "disk.qcow2";

Error unknown_base(const fs::path& disk, const std::string& why) {
    return {ErrorCode::image_in_use, disk.string() + " may stand on this image: " + why,
            "put back a copy of the VM's meta.json, or move its directory out of vms/"};
}

/// The start of a file, as much as a header can take.
Result<std::string> read_start(const fs::path& file) {
    NOXSUP_TRY_VALUE(const auto fd, open_file(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    std::string start(imaging::qcow2_header_bytes, '\0');
    std::size_t have = 0;
    while (have < start.size()) {
        const auto got =
            ::pread(fd.get(), start.data() + have, start.size() - have, static_cast<off_t>(have));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno_error("read " + file.string(), errno);
        if (got == 0) break;
        have += static_cast<std::size_t>(got);
    }
    start.resize(have);
    return start;
}

/// The digest of the image that a disk stands on; empty when it stands on none of ours.
Result<std::string> base_of(const fs::path& disk) {
    NOXSUP_TRY_VALUE(const auto start, read_start(disk));
    NOXSUP_TRY_VALUE(const auto name, imaging::qcow2_backing_name(
                                          std::as_bytes(std::span(start.data(), start.size()))));
    if (name.empty()) return std::string();
    const auto file = name.substr(name.rfind('/') == std::string::npos ? 0 : name.rfind('/') + 1);
    // "json:{...}", "nbd:host" and their like can mean any file.
    if (name.find(':') < name.find('/')) {
        return Error{ErrorCode::failed, "its base is no plain file name"};
    }
    // Through the links with names to the file they stand for.
    std::error_code failure;
    const auto target = fs::weakly_canonical(disk.parent_path() / name, failure);
    const auto stem = (failure ? fs::path(file) : target.filename()).stem().string();
    constexpr std::string_view prefix = "sha256-";
    if (!stem.starts_with(prefix)) return std::string();
    auto digest = stem.substr(prefix.size());
    return imaging::is_sha256(digest) ? digest : std::string();
}

void look_into(const fs::path& directory, OverlayBases& bases) {
    std::error_code failure;
    for (fs::directory_iterator it(directory, failure), end; !failure && it != end;
         it.increment(failure)) {
        const auto& file = it->path();
        std::error_code ignored;
        const bool ours = file.filename() == own_disk;
        if (file.extension() != ".qcow2") continue;
        if (!it->is_regular_file(ignored) || it->is_symlink(ignored)) {
            if (ours) bases.unknown = unknown_base(file, "it is not a regular file");
            continue;
        }
        auto digest = base_of(file);
        if (digest && !digest->empty()) {
            bases.users.emplace(std::move(*digest), directory.filename().string());
        } else if (!digest && (ours || digest.error().code != ErrorCode::image_invalid)) {
            bases.unknown = unknown_base(file, digest.error().message);
        }
    }
    if (failure) bases.unknown = unknown_base(directory, failure.message());
}

}  // namespace

OverlayBases find_overlay_bases(const fs::path& vms, const std::set<std::string>& known) {
    OverlayBases bases;
    std::error_code failure;
    for (fs::directory_iterator it(vms, failure), end; !failure && it != end;
         it.increment(failure)) {
        const auto name = it->path().filename().string();
        std::error_code ignored;
        if (name.starts_with('.') || known.contains(name)) continue;
        if (!it->is_directory(ignored) || it->is_symlink(ignored)) continue;
        look_into(it->path(), bases);
    }
    if (failure) bases.unknown = unknown_base(vms, failure.message());
    return bases;
}

}  // namespace noxsup::daemon
