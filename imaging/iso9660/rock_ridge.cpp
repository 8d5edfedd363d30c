#include "imaging/iso9660/rock_ridge.hpp"

#include <sys/stat.h>

#include "imaging/iso9660/records.hpp"

namespace noxsup::imaging::iso9660 {
namespace {

// RRIP 1.12, 4.3: the texts are given by the specification.
constexpr std::string_view er_identifier = "IEEE_P1282";
constexpr std::string_view er_descriptor =
    "THE IEEE P1282 PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS";
constexpr std::string_view er_source =
    "PLEASE CONTACT THE IEEE STANDARDS DEPARTMENT, PISCATAWAY, NJ, USA FOR THE P1282 SPECIFICATION";

/// Every field: signature, length, version 1 (SUSP 4).
std::string field(std::string_view signature, std::string_view content) {
    std::string out(signature);
    out += static_cast<char>(4 + content.size());
    out += '\1';
    out += content;
    return out;
}

std::string px_field(const PosixAttributes& attributes) {
    const std::uint32_t type = attributes.directory ? S_IFDIR : S_IFREG;
    std::string content;
    put_both32(content, type | attributes.mode);
    put_both32(content, attributes.links);
    put_both32(content, 0);  // user
    put_both32(content, 0);  // group
    put_both32(content, attributes.serial);
    return field("PX", content);
}

std::string nm_field(std::string_view name) {
    return field("NM", std::string(1, '\0') + std::string(name));
}

std::string er_field() {
    std::string content;
    content += static_cast<char>(er_identifier.size());
    content += static_cast<char>(er_descriptor.size());
    content += static_cast<char>(er_source.size());
    content += '\1';  // extension version
    content += er_identifier;
    content += er_descriptor;
    content += er_source;
    return field("ER", content);
}

}  // namespace

std::size_t SystemUse::size() const {
    return inside.size() + (continued.empty() ? 0 : ce_size);
}

SystemUse named_fields(std::string_view name, const PosixAttributes& attributes, std::size_t room) {
    // A name has at most 64 UCS-2 characters, which are 192 bytes, so one NM field always holds it.
    SystemUse result{px_field(attributes), nm_field(name)};
    if (result.inside.size() + result.continued.size() <= room) {
        result.inside += result.continued;
        result.continued.clear();
    }
    return result;
}

SystemUse dot_fields(const PosixAttributes& attributes) {
    return {px_field(attributes), {}};
}

SystemUse root_fields(const PosixAttributes& attributes) {
    const std::string sp_content("\xbe\xef\0", 3);
    return {field("SP", sp_content) + px_field(attributes), er_field()};
}

std::string ce_field(std::uint32_t block, std::uint32_t offset, std::uint32_t bytes) {
    std::string content;
    put_both32(content, block);
    put_both32(content, offset);
    put_both32(content, bytes);
    return field("CE", content);
}

}  // namespace noxsup::imaging::iso9660
