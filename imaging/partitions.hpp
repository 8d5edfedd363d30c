// The partitions of a disk with a GUID partition table (UEFI specification, 5.3).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

struct Partition {
    std::uint64_t offset = 0;  ///< bytes from the start of the disk
    std::uint64_t bytes = 0;
    bool operator==(const Partition&) const = default;
};

/// Fills the span with the disk's bytes from an offset on.
using DiskRead = std::function<Result<>(std::uint64_t offset, std::span<std::byte> out)>;

/// The partitions in use, in the table's order, of a disk with sectors of 512 bytes. Entries
/// outside the disk are left out; the table's checksums are for who writes to it.
/// Errors: image_invalid where there is no such table; of `read`.
Result<std::vector<Partition>> read_partitions(const DiskRead& read, std::uint64_t disk_bytes);

}  // namespace noxsup::imaging
