#include "imaging/qcow2_header.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "imaging/bytes.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

// Offsets of QEMU's docs/interop/qcow2.txt, "Header".
constexpr std::uint32_t magic = 0x514649fb;
constexpr std::size_t v2_header_bytes = 72;
constexpr std::size_t v3_header_bytes = 104;
constexpr std::uint32_t extension_end = 0;
constexpr std::uint32_t extension_data_file = 0x44415441;

constexpr std::uint64_t incompatible_dirty = 1U << 0U;
constexpr std::uint64_t incompatible_corrupt = 1U << 1U;
constexpr std::uint64_t incompatible_data_file = 1U << 2U;
constexpr std::uint64_t incompatible_compression = 1U << 3U;
constexpr std::uint64_t incompatible_extended_l2 = 1U << 4U;
constexpr std::uint64_t incompatible_known = 0x1f;

/// QEMU's own limits (block/qcow2.h): L1 table of 32 MiB, refcount table of 8 MiB.
constexpr std::uint64_t max_l1_bytes = std::uint64_t{32} << 20;
constexpr std::uint64_t max_refcount_table_bytes = std::uint64_t{8} << 20;

Error invalid(std::string what) {
    return {ErrorCode::image_invalid, "qcow2 header: " + std::move(what)};
}

Error hostile(std::string what, std::string hint = {}) {
    return {ErrorCode::image_hostile, "qcow2 header: " + std::move(what), std::move(hint)};
}

/// Part of the file that one structure takes.
struct Range {
    const char* what;
    std::uint64_t offset;
    std::uint64_t bytes;
};

Result<> check_range(const Range& range, std::uint64_t cluster_bytes, std::uint64_t file_bytes) {
    if (range.bytes == 0) return {};
    if (range.offset % cluster_bytes != 0) {
        return hostile(std::string(range.what) + " is not at a cluster boundary");
    }
    if (range.offset == 0) return hostile(std::string(range.what) + " lies over the header");
    if (range.offset > file_bytes || file_bytes - range.offset < range.bytes) {
        return hostile(std::string(range.what) + " lies outside the file");
    }
    return {};
}

bool overlap(const Range& a, const Range& b) {
    return a.bytes != 0 && b.bytes != 0 && a.offset < b.offset + b.bytes &&
           b.offset < a.offset + a.bytes;
}

std::uint64_t refcount_table_bytes(const Qcow2Header& header) {
    return header.refcount_table_clusters * header.cluster_bytes();
}

Result<> check_features(const Qcow2Header& header, std::span<const std::byte> start) {
    const auto features = header.incompatible_features;
    if ((features & incompatible_data_file) != 0) {
        return hostile("its data is in another file", "import the image that holds its own data");
    }
    if ((features & ~incompatible_known) != 0) {
        return hostile("it needs incompatible features that are unknown (bits beyond 4)");
    }
    if ((features & incompatible_corrupt) != 0) {
        return invalid("the image is marked corrupt");
    }
    if ((features & incompatible_dirty) != 0) {
        return invalid("the image was not closed cleanly or is in use");
    }
    const bool has_type = header.header_length >= v3_header_bytes + 1;
    const auto type = has_type ? big_endian<std::uint8_t>(start, v3_header_bytes) : std::uint8_t{0};
    const bool marked = (features & incompatible_compression) != 0;
    if (type > 1 || marked != (type != 0))
        return hostile("compression type and its feature bit disagree");
    if (header.extended_l2() && header.cluster_bits < 14) {
        return hostile("extended L2 entries need clusters of 16 KiB");
    }
    return {};
}

/// Walks the header extensions, which end the header's cluster at the latest.
Result<> check_extensions(const Qcow2Header& header, std::span<const std::byte> start) {
    const auto limit = std::min<std::uint64_t>(header.cluster_bytes(), start.size());
    std::uint64_t at = header.header_length;
    while (limit - at >= 8) {
        const auto type = big_endian<std::uint32_t>(start, at);
        const std::uint64_t length = big_endian<std::uint32_t>(start, at + 4);
        at += 8;
        if (type == extension_end) return {};
        if (type == extension_data_file) return hostile("it names an external data file");
        const auto padded = (length + 7) & ~std::uint64_t{7};
        if (padded > limit - at) return hostile("a header extension reaches past the header");
        at += padded;
    }
    return hostile("its header extensions do not end");
}

Result<> check_tables(const Qcow2Header& header, std::uint64_t file_bytes) {
    const auto cluster = header.cluster_bytes();
    const auto l1_bytes = std::uint64_t{header.l1_entries} * 8;
    const auto l2_entries = cluster / (header.extended_l2() ? 16 : 8);
    const auto per_l1 = cluster * l2_entries;
    const auto needed =
        header.virtual_bytes / per_l1 + (header.virtual_bytes % per_l1 != 0 ? 1 : 0);
    if (l1_bytes > max_l1_bytes) return hostile("its L1 table is larger than QEMU allows");
    if (header.l1_entries < needed) return hostile("its L1 table is too small for the disk");
    if (header.refcount_table_clusters == 0) return invalid("it has no refcount table");
    if (refcount_table_bytes(header) > max_refcount_table_bytes) {
        return hostile("its refcount table is larger than QEMU allows");
    }
    const std::array ranges{
        Range{"the L1 table", header.l1_offset, l1_bytes},
        Range{"the refcount table", header.refcount_table_offset, refcount_table_bytes(header)},
    };
    for (const auto& range : ranges) NOXSUP_TRY(check_range(range, cluster, file_bytes));
    if (overlap(ranges[0], ranges[1])) return hostile("L1 table and refcount table overlap");
    return {};
}

Result<> check_cluster_bits(const Qcow2Header& header) {
    if (header.cluster_bits >= 9 && header.cluster_bits <= 21) return {};
    return invalid("clusters of 2^" + std::to_string(header.cluster_bits) + " bytes");
}

Result<Qcow2Header> read_fields(std::span<const std::byte> start) {
    if (start.size() < v2_header_bytes || big_endian<std::uint32_t>(start, 0) != magic) {
        return invalid("the file is too short or has no qcow2 magic");
    }
    Qcow2Header header;
    header.version = big_endian<std::uint32_t>(start, 4);
    header.cluster_bits = big_endian<std::uint32_t>(start, 20);
    header.virtual_bytes = big_endian<std::uint64_t>(start, 24);
    header.l1_entries = big_endian<std::uint32_t>(start, 36);
    header.l1_offset = big_endian<std::uint64_t>(start, 40);
    header.refcount_table_offset = big_endian<std::uint64_t>(start, 48);
    header.refcount_table_clusters = big_endian<std::uint32_t>(start, 56);
    header.snapshots = big_endian<std::uint32_t>(start, 60);
    header.snapshots_offset = big_endian<std::uint64_t>(start, 64);
    if (header.version != 2 && header.version != 3) {
        return invalid("version " + std::to_string(header.version) + " is none we know");
    }
    if (header.version == 3) {
        if (start.size() < v3_header_bytes) return invalid("the file ends within it");
        header.incompatible_features = big_endian<std::uint64_t>(start, 72);
        header.refcount_order = big_endian<std::uint32_t>(start, 96);
        header.header_length = big_endian<std::uint32_t>(start, 100);
    }
    return header;
}

}  // namespace

Result<Qcow2Header> parse_qcow2_header(std::span<const std::byte> start, std::uint64_t file_bytes) {
    NOXSUP_TRY_VALUE(const auto header, read_fields(start));
    NOXSUP_TRY(check_cluster_bits(header));
    if (file_bytes < header.cluster_bytes() || start.size() < header.cluster_bytes()) {
        return invalid("the file ends within the first cluster");
    }
    if (header.version == 3 &&
        (header.header_length < v3_header_bytes || header.header_length % 8 != 0 ||
         header.header_length > header.cluster_bytes())) {
        return invalid("header length " + std::to_string(header.header_length));
    }
    if (header.refcount_order > 6)
        return invalid("refcounts of 2^" + std::to_string(header.refcount_order) + " bits");
    const auto backing_offset = big_endian<std::uint64_t>(start, 8);
    const auto backing_length = big_endian<std::uint32_t>(start, 16);
    if (backing_offset != 0 || backing_length != 0) {
        const auto at = std::min<std::uint64_t>(backing_offset, start.size());
        const auto length = std::min<std::uint64_t>({backing_length, 1023, start.size() - at});
        const std::string name(reinterpret_cast<const char*>(start.data()) + at, length);
        return hostile("it stands on another file '" + escape_for_terminal(name) + "'",
                       "flatten it where you trust it: qemu-img convert -O qcow2 IN OUT");
    }
    if (big_endian<std::uint32_t>(start, 32) != 0) {
        return hostile("it is encrypted",
                       "decrypt it first: qemu-img convert to an image without a key");
    }
    if (header.virtual_bytes == 0) return invalid("a disk of 0 bytes");
    if (header.virtual_bytes > max_virtual_bytes) {
        return hostile("a disk of " + format_bytes(header.virtual_bytes) +
                       " is beyond all we take");
    }
    if (header.snapshots != 0 || header.snapshots_offset != 0) {
        return hostile("it holds internal snapshots",
                       "remove them first: qemu-img snapshot -d NAME FILE");
    }
    NOXSUP_TRY(check_features(header, start));
    NOXSUP_TRY(check_extensions(header, start));
    NOXSUP_TRY(check_tables(header, file_bytes));
    return header;
}

Result<> check_own_qcow2(std::span<const std::byte> start) {
    NOXSUP_TRY_VALUE(const auto header, read_fields(start));
    if (big_endian<std::uint32_t>(start, 32) != 0) return hostile("it is encrypted");
    const auto features = header.incompatible_features;
    if ((features & incompatible_data_file) != 0) return hostile("its data is in another file");
    if ((features & ~incompatible_known) != 0) {
        return hostile("it needs incompatible features that are unknown (bits beyond 4)");
    }
    if ((features & incompatible_corrupt) != 0) return invalid("the image is marked corrupt");
    return {};
}

Result<Qcow2Header> parse_own_qcow2_header(std::span<const std::byte> start,
                                           std::uint64_t file_bytes) {
    NOXSUP_TRY(check_own_qcow2(start));
    NOXSUP_TRY_VALUE(const auto header, read_fields(start));
    NOXSUP_TRY(check_cluster_bits(header));
    if (header.virtual_bytes > max_virtual_bytes) return hostile("a disk beyond all we take");
    NOXSUP_TRY(check_tables(header, file_bytes));
    return header;
}

Result<std::string> qcow2_backing_name(std::span<const std::byte> start) {
    constexpr std::uint32_t longest = 1023;
    NOXSUP_TRY_VALUE(const auto header, read_fields(start));
    NOXSUP_TRY(check_cluster_bits(header));
    const auto offset = big_endian<std::uint64_t>(start, 8);
    const auto length = big_endian<std::uint32_t>(start, 16);
    if (offset == 0 && length == 0) return std::string();
    const auto limit = std::min<std::uint64_t>(start.size(), header.cluster_bytes());
    if (offset < v2_header_bytes || length == 0 || length > longest || offset > limit ||
        limit - offset < length) {
        return invalid("the name of its backing file lies outside the header");
    }
    return std::string(reinterpret_cast<const char*>(start.data()) + offset, length);
}

Result<> check_l1_entries(std::span<const std::byte> entries, const Qcow2Header& header,
                          std::uint64_t file_bytes) {
    // Bits 0 to 8 and 56 to 62 are reserved, 63 is the refcount-is-one flag ("L1 table entry").
    constexpr std::uint64_t offset_mask = 0x00ff'ffff'ffff'fe00;
    constexpr std::uint64_t reserved_mask = 0x7f00'0000'0000'01ff;
    const auto cluster = header.cluster_bytes();
    const Range l1{"the L1 table", header.l1_offset, std::uint64_t{header.l1_entries} * 8};
    const Range refcounts{"the refcount table", header.refcount_table_offset,
                          refcount_table_bytes(header)};
    std::vector<std::uint64_t> seen;
    for (std::size_t at = 0; at + 8 <= entries.size(); at += 8) {
        const auto entry = big_endian<std::uint64_t>(entries, at);
        const auto where = "L1 entry " + std::to_string(at / 8);
        if ((entry & reserved_mask) != 0) return hostile(where + " has reserved bits set");
        const Range table{"an L2 table", entry & offset_mask, cluster};
        if (table.offset == 0) continue;
        NOXSUP_TRY(check_range(table, cluster, file_bytes));
        if (overlap(table, l1) || overlap(table, refcounts)) {
            return hostile(where + " points into another table");
        }
        seen.push_back(table.offset);
    }
    std::ranges::sort(seen);
    // Only internal snapshots share L2 tables, and those are refused.
    if (std::ranges::adjacent_find(seen) != seen.end())
        return hostile("two L1 entries share an L2 table");
    return {};
}

}  // namespace noxsup::imaging
