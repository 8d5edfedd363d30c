#include "supervisor/launch/life_lock.hpp"

#include <fcntl.h>

#include <cerrno>

#include "supervisor/base/file.hpp"

namespace noxsup::launch {
namespace {

struct flock whole_file(short type) {
    struct flock range {};
    range.l_type = type;
    range.l_whence = SEEK_SET;
    return range;
}

}  // namespace

Result<UniqueFd> take_life_lock(const std::filesystem::path& path) {
    NOXSUP_TRY_VALUE(auto fd, open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
    auto range = whole_file(F_WRLCK);
    if (::fcntl(fd.get(), F_OFD_SETLK, &range) == 0) return fd;
    if (errno == EAGAIN || errno == EACCES) {
        return Error{ErrorCode::wrong_state,
                     "lock " + path.string() + ": QEMU of this VM is still alive"};
    }
    return errno_error("lock " + path.string(), errno);
}

Result<bool> life_lock_held(const std::filesystem::path& path) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) {
        if (errno == ENOENT) return false;
        return errno_error("open " + path.string(), errno);
    }
    auto range = whole_file(F_WRLCK);
    if (::fcntl(fd.get(), F_OFD_GETLK, &range) != 0)
        return errno_error("ask for the lock " + path.string(), errno);
    return range.l_type != F_UNLCK;
}

}  // namespace noxsup::launch
