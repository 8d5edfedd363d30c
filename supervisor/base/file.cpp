#include "supervisor/base/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "supervisor/base/random.hpp"

namespace noxsup {
namespace {

Error path_error(std::string_view verb, const std::filesystem::path& path, int errno_value,
                 ErrorCode otherwise = ErrorCode::io_error) {
    return errno_error(std::string(verb) + " " + path.string(), errno_value, otherwise);
}

ErrorCode open_error_code(int flags) {
    return (flags & O_ACCMODE) == O_RDONLY ? ErrorCode::unreadable_file : ErrorCode::io_error;
}

/// Removes the temporary file unless the rename took it away.
class TemporaryFile {
  public:
    explicit TemporaryFile(std::filesystem::path path) : path_(std::move(path)) {}
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile() {
        if (!path_.empty()) ::unlink(path_.c_str());
    }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    void keep() { path_.clear(); }

  private:
    std::filesystem::path path_;
};

}  // namespace

Result<UniqueFd> open_file(const std::filesystem::path& path, int flags, mode_t mode) {
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
    if (!fd) return path_error("open", path, errno, open_error_code(flags));
    return fd;
}

Result<UniqueFd> open_file_at(int directory, std::string_view name, int flags, mode_t mode) {
    const std::string path(name);
    UniqueFd fd(::openat(directory, path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode));
    if (!fd) return path_error("open", path, errno, open_error_code(flags));
    return fd;
}

Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit) {
    NOXSUP_TRY_VALUE(const auto fd, open_file(path, O_RDONLY | O_NONBLOCK));
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return path_error("stat", path, errno);
    if (!S_ISREG(info.st_mode)) {
        return Error{ErrorCode::unreadable_file, path.string() + " is not a regular file"};
    }
    return read_all(fd.get(), limit, path.string());
}

Result<std::string> read_all(int fd, std::size_t limit, std::string_view what) {
    std::string data;
    std::array<char, 65536> chunk{};
    for (;;) {
        const auto got = ::read(fd, chunk.data(), chunk.size());
        if (got < 0) {
            if (errno == EINTR) continue;
            return errno_error("read " + std::string(what), errno, ErrorCode::unreadable_file);
        }
        if (got == 0) return data;
        data.append(chunk.data(), static_cast<std::size_t>(got));
        if (data.size() > limit) {
            return Error{ErrorCode::unreadable_file,
                         std::string(what) + " is larger than " + std::to_string(limit) + " bytes"};
        }
    }
}

Result<> write_all(int fd, std::string_view data, std::string_view what) {
    while (!data.empty()) {
        const auto put = ::write(fd, data.data(), data.size());
        if (put < 0) {
            if (errno == EINTR) continue;
            return errno_error("write " + std::string(what), errno);
        }
        data.remove_prefix(static_cast<std::size_t>(put));
    }
    return {};
}

Result<> write_file_atomic(const std::filesystem::path& path, std::string_view data, mode_t mode) {
    auto name = path;
    name += "." + random_hex(6) + ".tmp";
    NOXSUP_TRY_VALUE(auto fd, open_file(name, O_WRONLY | O_CREAT | O_EXCL, mode));
    TemporaryFile temporary(name);
    // The umask may have taken bits away that the caller asked for.
    if (::fchmod(fd.get(), mode) != 0) return path_error("chmod", name, errno);
    NOXSUP_TRY(write_all(fd.get(), data, name.string()));
    if (::fsync(fd.get()) != 0) return path_error("fsync", name, errno);
    if (::close(fd.release()) != 0) return path_error("close", name, errno);
    if (::rename(name.c_str(), path.c_str()) != 0) return path_error("rename to", path, errno);
    temporary.keep();
    return sync_directory(path.parent_path());
}

Result<> sync_directory(const std::filesystem::path& path) {
    const auto directory = path.empty() ? std::filesystem::path(".") : path;
    NOXSUP_TRY_VALUE(const auto fd, open_file(directory, O_RDONLY | O_DIRECTORY));
    // EINVAL: a filesystem without fsync on directories; it keeps its own order.
    if (::fsync(fd.get()) != 0 && errno != EINVAL) return path_error("fsync", directory, errno);
    return {};
}

Result<> make_directories(const std::filesystem::path& path, mode_t mode) {
    if (path.empty()) return {};
    if (::mkdir(path.c_str(), mode) == 0) return {};
    if (errno == ENOENT) {
        NOXSUP_TRY(make_directories(path.parent_path(), mode));
        if (::mkdir(path.c_str(), mode) == 0) return {};
    }
    if (errno == EEXIST) {
        struct stat info {};
        if (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return {};
        errno = ENOTDIR;
    }
    return path_error("make directory", path, errno);
}

}  // namespace noxsup
