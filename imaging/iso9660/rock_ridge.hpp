// POSIX names and modes beside the short ones: Rock Ridge (RRIP 1.12) fields under SUSP 1.12.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace noxsup::imaging::iso9660 {

/// What Rock Ridge says about one file.
struct PosixAttributes {
    bool directory = false;
    std::uint32_t mode = 0;  ///< permission bits; owner and group are 0
    std::uint32_t links = 1;
    std::uint32_t serial = 0;  ///< as st_ino, unique in the image
};

/// System use fields of one directory record: what fits into the record, and the rest.
struct SystemUse {
    std::string inside;
    std::string continued;  ///< goes to a continuation area; `inside` leaves room for the CE field
    /// The bytes the record's system use field takes, CE included.
    [[nodiscard]] std::size_t size() const;
};

inline constexpr std::size_t ce_size = 28;

/// PX (RRIP 4.1.1) and NM (4.1.4) for a file named `name`, in a record with room for `room` bytes.
SystemUse named_fields(std::string_view name, const PosixAttributes& attributes, std::size_t room);
/// PX alone, for "." and "..".
SystemUse dot_fields(const PosixAttributes& attributes);
/// SP (SUSP 5.3), PX and, continued, ER (SUSP 5.5) for the "." of the root.
SystemUse root_fields(const PosixAttributes& attributes);
/// CE (SUSP 5.1): the continuation of `bytes` bytes at `offset` in `block`.
std::string ce_field(std::uint32_t block, std::uint32_t offset, std::uint32_t bytes);

}  // namespace noxsup::imaging::iso9660
