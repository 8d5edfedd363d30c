#include "supervisor/base/checksum.hpp"

#include <array>
#include <boost/crc.hpp>
#include <cstdio>

namespace noxsup {

std::string json_checksum(const Json& body) {
    const auto text = dump_json(body);
    boost::crc_32_type crc;
    crc.process_bytes(text.data(), text.size());
    std::array<char, 16> buffer{};
    std::snprintf(buffer.data(), buffer.size(), "crc32:%08x", crc.checksum());
    return buffer.data();
}

}  // namespace noxsup
