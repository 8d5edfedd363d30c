// Tells what a file is by its first bytes, and whether it may become a base image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// What the first bytes claim to be.
enum class FileKind {
    qcow2,
    raw_gpt,
    raw_mbr,  // taken
    xz,
    gzip,
    zstd,
    bzip2,
    lz4,
    tar,  // unpacked first
    qcow1,
    qed,
    vmdk,
    vdi,
    vhd,
    vhdx,
    parallels,
    bochs,
    cloop,
    luks,
    dmg,  // other tools' disks
    iso9660,
    zip,
    elf,
    pe,
    html,
    empty,
    unknown,
};

/// "VMware disk (VMDK)" and the like, for messages.
std::string_view file_kind_title(FileKind kind);

/// True for what `unpack` takes.
bool is_packed(FileKind kind);

/// Bytes from the start of a file that identify_file wants; it works with fewer.
inline constexpr std::size_t probe_bytes = std::size_t{64} << 10;

/// Never fails: what it does not know is `unknown`.
/// @param tail the last 512 bytes of the file, or empty
FileKind identify_file(std::span<const std::byte> start, std::span<const std::byte> tail = {});

/// An image that may be used.
struct ImageFacts {
    FileKind kind = FileKind::unknown;  ///< qcow2, raw_gpt, raw_mbr, or unknown with accept_raw
    std::string format;                 ///< for -f: "qcow2" or "raw"
    std::uint64_t virtual_bytes = 0;
    std::uint64_t file_bytes = 0;
};

/// Reads the headers of a regular file by pread(2) and judges them; opens nothing else.
/// @param accept_raw take a file without a partition table as a raw disk
/// Errors: unreadable_file (no regular file, read failure), image_invalid (no disk image we take,
/// with what it is), image_hostile (a disk image that refers to other files or lies about itself).
Result<ImageFacts> inspect_image(int fd, bool accept_raw);

/// Looks at what a guest would find at the start of a qcow2 of our own making: another disk image
/// in there is refused, so that no later tool can take the inside for the outside. Bytes that
/// qemu-img would have to decompress are not looked at. Errors: image_hostile, image_invalid,
/// unreadable_file.
Result<> check_guest_disk(int fd);

/// Only the kind. Errors: unreadable_file.
Result<FileKind> identify_fd(int fd);

Json facts_to_json(const ImageFacts& facts);
Result<ImageFacts> facts_from_json(const Json& json);

}  // namespace noxsup::imaging
