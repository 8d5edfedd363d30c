#include "imaging/image_probe.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <vector>

#include "imaging/bytes.hpp"
#include "imaging/qcow2_header.hpp"

namespace noxsup::imaging {
namespace {

using Bytes = std::span<const std::byte>;

struct Magic {
    FileKind kind;
    std::size_t offset;
    std::string_view text;
};

using namespace std::string_view_literals;

/// In order: what is certain first; partition tables are looked at last.
constexpr std::array magics{
    Magic{FileKind::vmdk, 0, "KDMV"sv},
    Magic{FileKind::vmdk, 0, "COWD"sv},
    Magic{FileKind::vmdk, 0, "# Disk DescriptorFile"sv},
    Magic{FileKind::vhdx, 0, "vhdxfile"sv},
    Magic{FileKind::vhd, 0, "conectix"sv},
    Magic{FileKind::vdi, 0x40, "\x7f\x10\xda\xbe"sv},
    Magic{FileKind::qed, 0, "QED\0"sv},
    Magic{FileKind::parallels, 0, "WithoutFreeSpace"sv},
    Magic{FileKind::parallels, 0, "WithouFreSpacExt"sv},
    Magic{FileKind::bochs, 0, "Bochs Virtual HD Image"sv},
    Magic{FileKind::cloop, 0, "#!/bin/sh\n#V2.0 Format"sv},
    Magic{FileKind::luks, 0, "LUKS\xba\xbe"sv},
    Magic{FileKind::xz, 0,
          "\xfd"
          "7zXZ\0"sv},
    Magic{FileKind::gzip, 0, "\x1f\x8b\x08"sv},
    Magic{FileKind::zstd, 0, "\x28\xb5\x2f\xfd"sv},
    Magic{FileKind::bzip2, 0, "BZh"sv},
    Magic{FileKind::lz4, 0, "\x04\x22\x4d\x18"sv},
    Magic{FileKind::zip, 0, "PK\x03\x04"sv},
    Magic{FileKind::elf, 0,
          "\x7f"
          "ELF"sv},
    Magic{FileKind::tar, 257, "ustar"sv},
};

struct Title {
    FileKind kind;
    std::string_view text;
};

constexpr std::array titles{
    Title{FileKind::qcow2, "QEMU disk (qcow2)"},
    Title{FileKind::raw_gpt, "raw disk with a GPT"},
    Title{FileKind::raw_mbr, "raw disk with an MBR"},
    Title{FileKind::xz, "xz-compressed file"},
    Title{FileKind::gzip, "gzip-compressed file"},
    Title{FileKind::zstd, "zstd-compressed file"},
    Title{FileKind::bzip2, "bzip2-compressed file"},
    Title{FileKind::lz4, "lz4-compressed file"},
    Title{FileKind::tar, "tar archive"},
    Title{FileKind::qcow1, "QEMU disk of version 1 (qcow)"},
    Title{FileKind::qed, "QEMU disk (QED)"},
    Title{FileKind::vmdk, "VMware disk (VMDK)"},
    Title{FileKind::vdi, "VirtualBox disk (VDI)"},
    Title{FileKind::vhd, "Virtual PC disk (VHD)"},
    Title{FileKind::vhdx, "Hyper-V disk (VHDX)"},
    Title{FileKind::parallels, "Parallels disk"},
    Title{FileKind::bochs, "Bochs disk"},
    Title{FileKind::cloop, "compressed loop image"},
    Title{FileKind::luks, "LUKS-encrypted disk"},
    Title{FileKind::dmg, "Apple disk (DMG)"},
    Title{FileKind::iso9660, "CD image (ISO 9660)"},
    Title{FileKind::zip, "zip archive"},
    Title{FileKind::elf, "program (ELF)"},
    Title{FileKind::pe, "program (PE/EFI)"},
    Title{FileKind::html, "web page (HTML)"},
    Title{FileKind::empty, "empty file"},
    Title{FileKind::unknown, "file of a kind we do not know"},
};

bool starts_like_html(Bytes start) {
    std::string text(reinterpret_cast<const char*>(start.data()),
                     std::min<std::size_t>(start.size(), 256));
    std::ranges::transform(text, text.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);
    text.erase(0, std::min(text.find_first_not_of(" \t\r\n"), text.size()));
    return text.starts_with("<!doctype html") || text.starts_with("<html");
}

/// A plausible MBR: signature, at least one partition, no status byte but 0x00 and 0x80.
bool has_mbr(Bytes start) {
    if (!has_at(start, 510, "\x55\xaa"sv)) return false;
    bool any = false;
    for (std::size_t at = 446; at < 510; at += 16) {
        const auto status = std::to_integer<unsigned>(start[at]);
        if (status != 0 && status != 0x80) return false;
        any = any ||
              (start[at + 4] != std::byte{0} && little_endian<std::uint32_t>(start, at + 12) != 0);
    }
    return any;
}

bool is_packed_kind(FileKind kind) {
    using enum FileKind;
    return kind == xz || kind == gzip || kind == zstd || kind == bzip2 || kind == lz4 ||
           kind == tar;
}

/// pread(2) of up to `bytes` at `offset`; shorter only at the end of the file.
Result<std::vector<std::byte>> read_at(int fd, std::uint64_t offset, std::size_t bytes) {
    std::vector<std::byte> data(bytes);
    std::size_t have = 0;
    while (have < bytes) {
        const auto got =
            ::pread(fd, data.data() + have, bytes - have, static_cast<off_t>(offset + have));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno_error("read image", errno, ErrorCode::unreadable_file);
        if (got == 0) break;
        have += static_cast<std::size_t>(got);
    }
    data.resize(have);
    return data;
}

Result<std::uint64_t> regular_file_size(int fd) {
    struct stat info {};
    if (::fstat(fd, &info) != 0)
        return errno_error("stat image", errno, ErrorCode::unreadable_file);
    if (!S_ISREG(info.st_mode)) {
        return Error{ErrorCode::unreadable_file, "the image is not a regular file"};
    }
    return static_cast<std::uint64_t>(info.st_size);
}

struct Start {
    std::uint64_t file_bytes;
    FileKind kind;
};

Result<Start> look_at(int fd) {
    NOXSUP_TRY_VALUE(const auto bytes, regular_file_size(fd));
    NOXSUP_TRY_VALUE(const auto start, read_at(fd, 0, probe_bytes));
    NOXSUP_TRY_VALUE(const auto tail, read_at(fd, bytes < 512 ? 0 : bytes - 512, 512));
    return Start{bytes, identify_file(start, tail)};
}

Result<ImageFacts> inspect_qcow2(int fd, std::uint64_t file_bytes) {
    NOXSUP_TRY_VALUE(const auto start, read_at(fd, 0, qcow2_header_bytes));
    NOXSUP_TRY_VALUE(const auto header, parse_qcow2_header(start, file_bytes));
    // At most 32 MiB, as the header's checks have made sure.
    NOXSUP_TRY_VALUE(const auto l1,
                     read_at(fd, header.l1_offset, std::size_t{header.l1_entries} * 8));
    NOXSUP_TRY(check_l1_entries(l1, header, file_bytes));
    return ImageFacts{FileKind::qcow2, "qcow2", header.virtual_bytes, file_bytes};
}

Error refusal(FileKind kind) {
    using enum FileKind;
    std::string hint = "qcow2 images and raw disks with a partition table are taken";
    switch (kind) {
        case qcow1:
        case qed:
        case vmdk:
        case vdi:
        case vhd:
        case vhdx:
        case parallels:
        case bochs:
        case cloop:
        case dmg:
            hint = "where you trust it, rewrite it first: qemu-img convert -O qcow2 IN OUT.qcow2";
            break;
        case luks:
            hint = "decrypt it first";
            break;
        case html:
            hint = "the download got a page instead of the image: look at the address";
            break;
        case iso9660:
            hint = "an installation CD is no disk image; take a cloud image (qcow2)";
            break;
        case unknown:
            hint += "; a raw disk without one needs a word: noxsup image import --raw FILE";
            break;
        default:
            break;
    }
    return {ErrorCode::image_invalid,
            "not a disk image we take: " + std::string(file_kind_title(kind)), std::move(hint)};
}

}  // namespace

std::string_view file_kind_title(FileKind kind) {
    return std::ranges::find(titles, kind, &Title::kind)->text;
}

bool is_packed(FileKind kind) {
    return is_packed_kind(kind);
}

FileKind identify_file(Bytes start, Bytes tail) {
    if (start.empty()) return FileKind::empty;
    if (has_at(start, 0, "QFI\xfb"sv)) {
        return big_endian<std::uint32_t>(start, 4) == 1 ? FileKind::qcow1 : FileKind::qcow2;
    }
    for (const auto& magic : magics) {
        if (has_at(start, magic.offset, magic.text)) return magic.kind;
    }
    if (has_at(tail, 0, "conectix"sv)) return FileKind::vhd;
    if (has_at(tail, 0, "koly"sv)) return FileKind::dmg;
    if (starts_like_html(start)) return FileKind::html;
    // Hybrid CDs carry a partition table as well; as a cloud disk they are of no use.
    if (has_at(start, 0x8001, "CD001"sv)) return FileKind::iso9660;
    if (has_at(start, 512, "EFI PART"sv) || has_at(start, 4096, "EFI PART"sv))
        return FileKind::raw_gpt;
    if (has_mbr(start)) return FileKind::raw_mbr;
    if (has_at(start, 0, "MZ"sv)) return FileKind::pe;
    return FileKind::unknown;
}

Result<ImageFacts> inspect_image(int fd, bool accept_raw) {
    NOXSUP_TRY_VALUE(const auto start, look_at(fd));
    switch (start.kind) {
        case FileKind::qcow2:
            return inspect_qcow2(fd, start.file_bytes);
        case FileKind::raw_gpt:
        case FileKind::raw_mbr:
            break;
        case FileKind::unknown:
        case FileKind::pe:
            if (accept_raw) break;
            [[fallthrough]];
        default:
            return refusal(start.kind);
    }
    if (start.file_bytes > max_virtual_bytes) {
        return Error{ErrorCode::image_hostile, "a raw disk that is beyond all we take"};
    }
    if (start.file_bytes % 512 != 0) {
        return Error{ErrorCode::image_invalid,
                     "a raw disk of " + std::to_string(start.file_bytes) +
                         " bytes, which is not a multiple of 512",
                     "the file is cut short or no raw disk"};
    }
    return ImageFacts{start.kind, "raw", start.file_bytes, start.file_bytes};
}

namespace {

/// Where the guest's first cluster lies in the file; nothing when it is not stored as it is.
Result<std::uint64_t> first_guest_cluster(int fd, const Qcow2Header& header) {
    // Offsets of standard L1 and L2 entries (docs/interop/qcow2.txt, "Cluster mapping").
    constexpr std::uint64_t offset_mask = 0x00ff'ffff'ffff'fe00;
    constexpr std::uint64_t compressed = std::uint64_t{1} << 62U;
    NOXSUP_TRY_VALUE(const auto l1, read_at(fd, header.l1_offset, 8));
    const auto l2_offset = big_endian<std::uint64_t>(l1, 0) & offset_mask;
    if (l2_offset == 0) return std::uint64_t{0};
    NOXSUP_TRY_VALUE(const auto l2, read_at(fd, l2_offset, 8));
    const auto entry = big_endian<std::uint64_t>(l2, 0);
    if ((entry & compressed) != 0) return std::uint64_t{0};
    return entry & offset_mask;
}

}  // namespace

Result<> check_guest_disk(int fd) {
    NOXSUP_TRY_VALUE(const auto bytes, regular_file_size(fd));
    NOXSUP_TRY_VALUE(const auto start, read_at(fd, 0, qcow2_header_bytes));
    NOXSUP_TRY_VALUE(const auto header, parse_qcow2_header(start, bytes));
    NOXSUP_TRY_VALUE(const auto offset, first_guest_cluster(fd, header));
    if (offset == 0) return {};
    NOXSUP_TRY_VALUE(
        const auto guest,
        read_at(fd, offset, std::min<std::size_t>(header.cluster_bytes(), probe_bytes)));
    const auto kind = identify_file(guest);
    using enum FileKind;
    for (const auto other :
         {qcow2, qcow1, qed, vmdk, vdi, vhd, vhdx, parallels, bochs, cloop, dmg}) {
        if (kind != other) continue;
        return Error{ErrorCode::image_hostile,
                     "the disk holds another disk image: " + std::string(file_kind_title(kind)),
                     "take the inner image out and import that"};
    }
    return {};
}

Result<FileKind> identify_fd(int fd) {
    NOXSUP_TRY_VALUE(const auto start, look_at(fd));
    return start.kind;
}

Json facts_to_json(const ImageFacts& facts) {
    Json json;
    json["kind"] = static_cast<int>(facts.kind);
    json["format"] = facts.format;
    json["virtual_bytes"] = facts.virtual_bytes;
    json["file_bytes"] = facts.file_bytes;
    return json;
}

Result<ImageFacts> facts_from_json(const Json& json) {
    ImageFacts facts;
    NOXSUP_TRY_VALUE(const auto kind, json_member<int>(json, "kind"));
    if (kind < 0 || kind > static_cast<int>(FileKind::unknown)) {
        return Error{ErrorCode::protocol_error, "unknown file kind " + std::to_string(kind)};
    }
    facts.kind = static_cast<FileKind>(kind);
    NOXSUP_TRY_VALUE(facts.format, json_member<std::string>(json, "format"));
    if (facts.format != "qcow2" && facts.format != "raw") {
        return Error{ErrorCode::protocol_error, "unknown image format"};
    }
    NOXSUP_TRY_VALUE(facts.virtual_bytes, json_member<std::uint64_t>(json, "virtual_bytes"));
    NOXSUP_TRY_VALUE(facts.file_bytes, json_member<std::uint64_t>(json, "file_bytes"));
    return facts;
}

}  // namespace noxsup::imaging
