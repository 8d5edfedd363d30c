#include "imaging/iso9660/records.hpp"

#include <cstdio>

namespace noxsup::imaging::iso9660 {
namespace {

constexpr std::size_t max_volume_id = 32;

void put_byte(std::string& out, unsigned value) {
    out += static_cast<char>(value & 0xffU);
}

void put_big16(std::string& out, std::uint16_t value) {
    put_byte(out, value >> 8U);
    put_byte(out, value);
}

struct CivilTime {
    int year;
    unsigned month, day, hour, minute, second;
};

CivilTime civil(std::chrono::sys_seconds time) {
    const auto day = std::chrono::floor<std::chrono::days>(time);
    const std::chrono::year_month_day date{day};
    const std::chrono::hh_mm_ss clock{time - day};
    return {static_cast<int>(date.year()),
            static_cast<unsigned>(date.month()),
            static_cast<unsigned>(date.day()),
            static_cast<unsigned>(clock.hours().count()),
            static_cast<unsigned>(clock.minutes().count()),
            static_cast<unsigned>(clock.seconds().count())};
}

/// 9.1.5: seven bytes, UTC.
void put_record_date(std::string& out, std::chrono::sys_seconds time) {
    const auto t = civil(time);
    put_byte(out, static_cast<unsigned>(t.year - 1900));
    for (const auto part : {t.month, t.day, t.hour, t.minute, t.second, 0U}) put_byte(out, part);
}

/// 8.4.26.1: sixteen digits and the offset from UTC.
void put_volume_date(std::string& out, std::chrono::sys_seconds time) {
    const auto t = civil(time);
    char digits[64];
    std::snprintf(digits, sizeof digits, "%04d%02u%02u%02u%02u%02u00", t.year, t.month, t.day,
                  t.hour, t.minute, t.second);
    out.append(digits, 16);
    put_byte(out, 0);
}

/// "Not specified", 8.4.26.1.
void put_no_date(std::string& out) {
    out.append(16, '0');
    put_byte(out, 0);
}

/// A field of a-, d- or UCS-2 characters, filled with spaces (7.4.3.2). An odd field of UCS-2 ends
/// in a zero byte.
void put_text(std::string& out, std::string_view ascii, std::size_t field, bool ucs2) {
    if (!ucs2) {
        out += ascii;
        out.append(field - ascii.size(), ' ');
        return;
    }
    for (std::size_t i = 0; i < field / 2; ++i) {
        out += '\0';
        out += i < ascii.size() ? ascii[i] : ' ';
    }
    out.append(field % 2, '\0');
}

}  // namespace

void put_little16(std::string& out, std::uint16_t value) {
    put_byte(out, value);
    put_byte(out, value >> 8U);
}

void put_both16(std::string& out, std::uint16_t value) {
    put_little16(out, value);
    put_big16(out, value);
}

void put_little32(std::string& out, std::uint32_t value) {
    for (const auto shift : {0U, 8U, 16U, 24U}) put_byte(out, value >> shift);
}

void put_big32(std::string& out, std::uint32_t value) {
    for (const auto shift : {24U, 16U, 8U, 0U}) put_byte(out, value >> shift);
}

void put_both32(std::string& out, std::uint32_t value) {
    put_little32(out, value);
    put_big32(out, value);
}

void pad_to_sector(std::string& out) {
    out.resize(sectors_for(out.size()) * sector_size, '\0');
}

std::size_t record_size(std::size_t identifier_bytes, std::size_t system_use_bytes) {
    // 33 fixed bytes; the identifier is padded to end on an even byte, and so is the whole record.
    const auto named = 33 + identifier_bytes + (identifier_bytes % 2 == 0 ? 1 : 0);
    return named + system_use_bytes + system_use_bytes % 2;
}

void put_directory_record(std::string& out, const DirectoryRecord& record,
                          std::chrono::sys_seconds timestamp) {
    const auto start = out.size();
    const auto size = record_size(record.identifier.size(), record.system_use.size());
    put_byte(out, static_cast<unsigned>(size));
    put_byte(out, 0);  // no extended attribute record
    put_both32(out, record.extent.block);
    put_both32(out, record.extent.bytes);
    put_record_date(out, timestamp);
    put_byte(out, record.directory ? 2 : 0);  // file flags
    put_byte(out, 0);                         // not interleaved: unit size
    put_byte(out, 0);                         // and gap size
    put_both16(out, 1);                       // volume sequence number
    put_byte(out, static_cast<unsigned>(record.identifier.size()));
    out += record.identifier;
    if (record.identifier.size() % 2 == 0) put_byte(out, 0);
    out += record.system_use;
    out.resize(start + size, '\0');
}

std::size_t path_record_size(std::size_t identifier_bytes) {
    return 8 + identifier_bytes + identifier_bytes % 2;
}

void put_path_record_l(std::string& out, const PathRecord& record) {
    put_byte(out, static_cast<unsigned>(record.identifier.size()));
    put_byte(out, 0);
    put_little32(out, record.block);
    put_little16(out, record.parent);
    out += record.identifier;
    if (record.identifier.size() % 2 == 1) put_byte(out, 0);
}

void put_path_record_m(std::string& out, const PathRecord& record) {
    put_byte(out, static_cast<unsigned>(record.identifier.size()));
    put_byte(out, 0);
    put_big32(out, record.block);
    put_big16(out, record.parent);
    out += record.identifier;
    if (record.identifier.size() % 2 == 1) put_byte(out, 0);
}

void put_volume_descriptor(std::string& out, const VolumeDescriptor& descriptor,
                           std::chrono::sys_seconds timestamp) {
    const bool ucs2 = descriptor.joliet;
    const auto text = [&](std::string_view value, std::size_t field) {
        put_text(out, value, field, ucs2);
    };
    put_byte(out, ucs2 ? 2 : 1);  // volume descriptor type
    out += "CD001";
    put_byte(out, 1);  // version
    put_byte(out, 0);  // volume flags: only registered escape sequences
    text("LINUX", 32);
    text(descriptor.volume_id, max_volume_id);
    out.append(8, '\0');
    put_both32(out, descriptor.volume_blocks);
    std::string escapes = ucs2 ? "%/E" : "";
    escapes.resize(32, '\0');
    out += escapes;
    put_both16(out, 1);  // volume set size
    put_both16(out, 1);  // volume sequence number
    put_both16(out, sector_size);
    put_both32(out, descriptor.path_table_bytes);
    put_little32(out, descriptor.path_table_l);
    put_little32(out, 0);  // no optional second table
    put_big32(out, descriptor.path_table_m);
    put_big32(out, 0);
    put_directory_record(out, {std::string_view("\0", 1), descriptor.root, true, {}}, timestamp);
    text("", 128);                    // volume set
    text("", 128);                    // publisher
    text("", 128);                    // data preparer
    text("NOXSUP", 128);              // application
    text("", 37);                     // copyright file
    text("", 37);                     // abstract file
    text("", 37);                     // bibliographic file
    put_volume_date(out, timestamp);  // creation
    put_volume_date(out, timestamp);  // modification
    put_no_date(out);                 // expiration
    put_no_date(out);                 // effective
    put_byte(out, 1);                 // file structure version
    pad_to_sector(out);
}

void put_set_terminator(std::string& out) {
    put_byte(out, 255);
    out += "CD001";
    put_byte(out, 1);
    pad_to_sector(out);
}

}  // namespace noxsup::imaging::iso9660
