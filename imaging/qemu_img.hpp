// qemu-img on files of our own making: overlays, sizes, facts; formats always explicit, never
// probed.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "supervisor/base/command.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// A new overlay over a base image.
struct OverlaySpec {
    std::filesystem::path path;  ///< absolute; must not exist
    std::string backing;  ///< relative to path's directory, a qcow2 (ImageStore::backing_path)
    std::uint64_t backing_bytes = 0;  ///< virtual size of the base
    std::uint64_t virtual_bytes = 0;  ///< of the overlay; a multiple of 512
};

/// What `qemu-img info` says of a qcow2.
struct DiskInfo {
    std::string format;
    std::uint64_t virtual_bytes = 0;
    std::uint64_t used_bytes = 0;        ///< on the medium
    std::optional<std::string> backing;  ///< as written in the header
    std::optional<std::string> backing_format;
    bool dirty = false;
    bool corrupt = false;
};

/// Typed qemu-img commands; each has a deadline of 60 s unless it says more. Foreign images never
/// come here: the worker rewrites those under resource limits first.
class QemuImg {
  public:
    /// @param runner outlives this object  @param program a path or a name to look up
    explicit QemuImg(CommandRunner& runner, std::string program = "qemu-img");

    /// Makes the overlay file (0600); on an error none is left.
    /// Errors: disk_too_small, already_exists, no_space, image_not_found (no base there),
    /// host_lacks_tool, command_failed.
    boost::asio::awaitable<Result<>> create_overlay(OverlaySpec spec);

    /// Makes an empty qcow2 disk without a base. Errors as create_overlay.
    boost::asio::awaitable<Result<>> create_disk(std::filesystem::path path,
                                                 std::uint64_t virtual_bytes);

    /// Grows a qcow2 that nobody has open. Errors: disk_too_small (it never shrinks), image_in_use
    /// (a running VM has it), no_space, unreadable_file, command_failed.
    boost::asio::awaitable<Result<>> resize(std::filesystem::path path,
                                            std::uint64_t virtual_bytes);

    /// Facts of a qcow2; opens no backing file. Errors: unreadable_file, image_invalid,
    /// command_failed.
    boost::asio::awaitable<Result<DiskInfo>> info(std::filesystem::path path);

    // Internal snapshots of a disk of ours that nobody has open (imaging/qemu_img_snapshot.cpp).
    // Its base is not opened, and an image that says that its data is elsewhere is refused. Errors
    // of all: image_in_use, image_hostile, unreadable_file, no_space, command_failed.
    using SnapshotCall = boost::asio::awaitable<Result<>>;
    /// @param tag not that of another snapshot in it, and not a number
    SnapshotCall create_snapshot(std::filesystem::path path, std::string tag);
    /// The disk becomes what it was. Cut off it is neither, until it is done again.
    SnapshotCall apply_snapshot(std::filesystem::path path, std::string tag);
    /// Fine when there is none.
    SnapshotCall remove_snapshot(std::filesystem::path path, std::string tag);
    /// After one of these was cut off: counts anew what is in use, and frees the rest.
    SnapshotCall repair(std::filesystem::path path);

  private:
    boost::asio::awaitable<Result<std::string>> run(
        std::vector<std::string> arguments,
        std::chrono::steady_clock::duration deadline = std::chrono::seconds(60));
    SnapshotCall run_on_disk(std::vector<std::string> arguments, std::filesystem::path path);

    CommandRunner& runner_;
    std::string program_;
};

}  // namespace noxsup::imaging
