#include "supervisor/launch/sealed_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>

namespace noxsup::launch {

Result<UniqueFd> make_memory_file(const char* name) {
    UniqueFd file(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!file) return errno_error("make a file in memory", errno);
    return file;
}

Result<> seal_memory_file(int fd) {
    constexpr int all_seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    if (::fcntl(fd, F_ADD_SEALS, all_seals) != 0)
        return errno_error("seal a file in memory", errno);
    return {};
}

}  // namespace noxsup::launch
