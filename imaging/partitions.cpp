#include "imaging/partitions.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

#include "imaging/bytes.hpp"

namespace noxsup::imaging {
namespace {

constexpr std::uint64_t sector = 512;
/// Tables have 128 entries of 128 bytes.
constexpr std::uint32_t max_entries = 1024;
constexpr std::uint32_t min_entry_bytes = 128;
constexpr std::uint32_t max_entry_bytes = 4096;

}  // namespace

Result<std::vector<Partition>> read_partitions(const DiskRead& read, std::uint64_t disk_bytes) {
    std::array<std::byte, sector> header{};
    NOXSUP_TRY(read(sector, header));
    if (!has_at(header, 0, "EFI PART"))
        return Error{ErrorCode::image_invalid, "the disk has no GUID partition table"};
    const auto first_lba = little_endian<std::uint64_t>(header, 72);
    const auto entries = little_endian<std::uint32_t>(header, 80);
    const auto entry_bytes = little_endian<std::uint32_t>(header, 84);
    if (entries > max_entries || entry_bytes < min_entry_bytes || entry_bytes > max_entry_bytes ||
        first_lba > disk_bytes / sector) {
        return Error{ErrorCode::image_invalid, "the disk's partition table is damaged"};
    }
    std::vector<std::byte> table(std::size_t{entries} * entry_bytes);
    NOXSUP_TRY(read(first_lba * sector, table));
    std::vector<Partition> partitions;
    for (std::size_t at = 0; at < table.size(); at += entry_bytes) {
        const auto entry = std::span<const std::byte>(table).subspan(at, entry_bytes);
        const auto type = entry.first(16);
        if (std::ranges::all_of(type, [](std::byte b) { return b == std::byte{0}; })) continue;
        const auto first = little_endian<std::uint64_t>(entry, 32);
        const auto last = little_endian<std::uint64_t>(entry, 40);
        if (first > last || last >= disk_bytes / sector) continue;
        partitions.push_back({first * sector, (last - first + 1) * sector});
    }
    return partitions;
}

}  // namespace noxsup::imaging
