#include "supervisor/vm/bounded_log.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "supervisor/base/file.hpp"
#include "supervisor/base/log.hpp"

namespace noxsup::vm {

Result<> bound_log(const std::filesystem::path& path, std::uint64_t limit) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) {
        if (errno == ENOENT) return {};
        return errno_error("stat " + path.string(), errno);
    }
    if (static_cast<std::uint64_t>(info.st_size) <= limit) return {};
    // The newest part is what people look for; a flood may have made the file far larger than the
    // limit.
    NOXSUP_TRY_VALUE(const auto fd, open_file(path, O_RDWR | O_NOFOLLOW));
    const auto from = static_cast<std::uint64_t>(info.st_size) - limit;
    if (::lseek(fd.get(), static_cast<off_t>(from), SEEK_SET) < 0) {
        return errno_error("seek in " + path.string(), errno);
    }
    std::string newest(static_cast<std::size_t>(limit), '\0');
    std::size_t have = 0;
    while (have < newest.size()) {
        const auto got = ::read(fd.get(), newest.data() + have, newest.size() - have);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        have += static_cast<std::size_t>(got);
    }
    newest.resize(have);
    auto previous = path;
    previous += ".1";
    const auto copy = open_file(previous, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    // No room for the copy must not keep the log from being emptied: it is what fills the disk.
    auto outcome =
        copy ? write_all(copy->get(), newest, previous.string()) : Result<>(copy.error());
    if (::ftruncate(fd.get(), 0) != 0) return errno_error("truncate " + path.string(), errno);
    return outcome;
}

Result<BoundedLog> BoundedLog::open(std::filesystem::path path, std::uint64_t limit) {
    NOXSUP_TRY_VALUE(auto fd, open_file(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0600));
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return errno_error("stat " + path.string(), errno);
    return BoundedLog(std::move(path), std::move(fd), static_cast<std::uint64_t>(info.st_size),
                      limit);
}

void BoundedLog::append(std::string_view data) {
    auto outcome = write_all(fd_.get(), data, path_.string());
    if (outcome) {
        size_ += data.size();
        if (size_ > limit_) {
            outcome = bound_log(path_, limit_);
            size_ = 0;
        }
    }
    if (!outcome && !failing_) log_warning("the log loses lines: " + outcome.error().message);
    failing_ = !outcome;
}

}  // namespace noxsup::vm
