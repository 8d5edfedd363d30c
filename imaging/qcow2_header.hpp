// A bounds-checked reader of the qcow2 header, so that no tool opens an image that refers
// elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// The header's fields that count here (QEMU docs/interop/qcow2.txt, "Header"; big-endian on disk).
struct Qcow2Header {
    std::uint32_t version = 0;  ///< 2 or 3
    std::uint32_t cluster_bits = 0;
    std::uint64_t virtual_bytes = 0;
    std::uint32_t l1_entries = 0;
    std::uint64_t l1_offset = 0;
    std::uint64_t refcount_table_offset = 0;
    std::uint32_t refcount_table_clusters = 0;
    std::uint32_t snapshots = 0;
    std::uint64_t snapshots_offset = 0;
    std::uint64_t incompatible_features = 0;
    std::uint32_t refcount_order = 4;
    std::uint32_t header_length = 72;

    [[nodiscard]] std::uint64_t cluster_bytes() const { return std::uint64_t{1} << cluster_bits; }
    [[nodiscard]] bool extended_l2() const { return (incompatible_features & 16U) != 0; }
};

/// How much of a file's start parse_qcow2_header wants at most: the largest cluster.
inline constexpr std::size_t qcow2_header_bytes = std::size_t{2} << 20;

/// The largest disk we take: 64 TiB, far beyond any host of ours and below QEMU's own limits.
inline constexpr std::uint64_t max_virtual_bytes = std::uint64_t{64} << 40;

/// Judges the header. No I/O: the caller read the bytes.
/// @param start the first min(file, qcow2_header_bytes) bytes  @param file_bytes the file's size
/// Errors: image_invalid (truncated, versions and sizes outside the specification), image_hostile
/// (backing file, external data file, encryption, unknown incompatible features, internal
/// snapshots, tables outside the file or over each other).
Result<Qcow2Header> parse_qcow2_header(std::span<const std::byte> start, std::uint64_t file_bytes);

/// The name of the file that an image stands on, as written in it; empty when there is none.
/// Nothing else is judged: for overlays of our own whose record is lost. @param start as above
/// Errors: image_invalid (no qcow2, or the name lies outside the first cluster).
Result<std::string> qcow2_backing_name(std::span<const std::byte> start);

/// Whether a disk of ours still holds its own data, whatever its guest did to it: no external data
/// file, no encryption, nothing unknown; internal snapshots and a backing file (which is never
/// opened by its name) are fine. @param start the first 4 KiB at least, or the whole file
/// Errors: image_invalid, image_hostile.
Result<> check_own_qcow2(std::span<const std::byte> start);

/// The header of such a disk, its tables inside the file. @param start as of parse_qcow2_header
/// Errors: as check_own_qcow2; image_invalid, image_hostile for sizes and tables that cannot be.
Result<Qcow2Header> parse_own_qcow2_header(std::span<const std::byte> start,
                                           std::uint64_t file_bytes);

/// Judges entries of the L1 table: each zero, or an aligned offset of a whole cluster inside the
/// file that is neither the header nor the tables. @param entries bytes of the table, a multiple of
/// 8 Errors: image_hostile.
Result<> check_l1_entries(std::span<const std::byte> entries, const Qcow2Header& header,
                          std::uint64_t file_bytes);

}  // namespace noxsup::imaging
