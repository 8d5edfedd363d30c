#include "supervisor/base/disk_use.hpp"

#include <sys/stat.h>

namespace noxsup {

std::uint64_t used_bytes(const std::filesystem::path& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return 0;
    return static_cast<std::uint64_t>(info.st_blocks) * 512;
}

}  // namespace noxsup
