// What files take on the medium.
#pragma once

#include <cstdint>
#include <filesystem>

namespace noxsup {

/// Bytes that are allocated for a file, holes left out; 0 when it is not there.
std::uint64_t used_bytes(const std::filesystem::path& path);

}  // namespace noxsup
