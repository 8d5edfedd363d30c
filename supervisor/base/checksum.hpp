// The checksum that files of ours carry, so that a damaged one is told from a strange one.
#pragma once

#include <string>

#include "supervisor/base/json.hpp"

namespace noxsup {

/// "crc32:" and eight hexadecimal digits over the document as dump_json() writes it.
std::string json_checksum(const Json& body);

}  // namespace noxsup
