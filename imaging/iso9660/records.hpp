// The records of ECMA-119 as bytes: numbers in both orders, dates, descriptors, directory and path
// records.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace noxsup::imaging::iso9660 {

inline constexpr std::size_t sector_size = 2048;
/// ECMA-119 6.2.1: sectors 0 to 15 are the system area, zero here.
inline constexpr std::uint32_t first_descriptor = 16;

/// Sectors that `bytes` bytes take.
constexpr std::uint64_t sectors_for(std::uint64_t bytes) {
    return (bytes + sector_size - 1) / sector_size;
}

void put_little16(std::string& out, std::uint16_t value);  ///< 7.2.1
void put_both16(std::string& out, std::uint16_t value);    ///< 7.2.3
void put_little32(std::string& out, std::uint32_t value);  ///< 7.3.1
void put_big32(std::string& out, std::uint32_t value);     ///< 7.3.2
void put_both32(std::string& out, std::uint32_t value);    ///< 7.3.3
/// Zero bytes up to the next sector; none at its start.
void pad_to_sector(std::string& out);

/// Where something lies: its first logical block and its length in bytes.
struct Extent {
    std::uint32_t block = 0;
    std::uint32_t bytes = 0;
};

/// One directory record (9.1), 34 to 254 bytes, always an even number.
struct DirectoryRecord {
    std::string_view identifier;  ///< "\0" for the directory itself, "\1" for its parent (6.8.2.2)
    Extent extent;
    bool directory = false;
    std::string_view system_use;
};

/// The length of the record with an identifier and a system use field of these sizes.
std::size_t record_size(std::size_t identifier_bytes, std::size_t system_use_bytes);
void put_directory_record(std::string& out, const DirectoryRecord& record,
                          std::chrono::sys_seconds timestamp);

/// One path table record (9.4); type L with little-endian numbers, type M with big-endian ones.
struct PathRecord {
    std::string_view identifier;
    std::uint32_t block = 0;
    std::uint16_t parent = 1;
};
std::size_t path_record_size(std::size_t identifier_bytes);
void put_path_record_l(std::string& out, const PathRecord& record);
void put_path_record_m(std::string& out, const PathRecord& record);

/// What the primary (8.4) and the supplementary (8.5) volume descriptors say.
struct VolumeDescriptor {
    bool joliet =
        false;  ///< supplementary, with the escape sequence of UCS-2 level 3 and UCS-2 texts
    std::string_view volume_id;  ///< ASCII
    std::uint32_t volume_blocks = 0;
    std::uint32_t path_table_bytes = 0;
    std::uint32_t path_table_l = 0;  ///< block
    std::uint32_t path_table_m = 0;
    Extent root;
};
/// One sector.
void put_volume_descriptor(std::string& out, const VolumeDescriptor& descriptor,
                           std::chrono::sys_seconds timestamp);
/// One sector (8.3).
void put_set_terminator(std::string& out);

}  // namespace noxsup::imaging::iso9660
