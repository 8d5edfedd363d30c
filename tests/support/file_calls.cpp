#include "tests/support/file_calls.hpp"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>

namespace noxsup::test {
namespace {

struct Watch {
    std::string below;
    FileCalls::Judge judge;
    FileCalls::Witness witness;
    std::map<int, std::string> open;  ///< descriptors of files below
    bool inside = false;              ///< what judge and witness do is not watched
};

Watch* current = nullptr;

/// A name as a call gave it, made absolute where its directory is known; nothing for what is not
/// watched.
std::optional<std::string> watched_path(int directory, const char* name) {
    if (current == nullptr || current->inside || name == nullptr) return std::nullopt;
    std::string path = name;
    if (path.empty() || path.front() != '/') {
        const auto known = current->open.find(directory);
        if (known == current->open.end()) return std::nullopt;
        path = known->second + "/" + path;
    }
    if (!path.starts_with(current->below)) return std::nullopt;
    return path;
}

std::optional<std::string> watched_fd(int fd) {
    if (current == nullptr || current->inside) return std::nullopt;
    const auto known = current->open.find(fd);
    if (known == current->open.end()) return std::nullopt;
    return known->second;
}

int judge(const FileCall& call) {
    if (!current->judge) return 0;
    current->inside = true;
    const int verdict = current->judge(call);
    current->inside = false;
    return verdict;
}

void tell(const FileCall& call) {
    if (!current->witness) return;
    const int saved = errno;
    current->inside = true;
    current->witness(call);
    current->inside = false;
    errno = saved;
}

/// A call that is made by `make` unless it is to fail.
template <class Make>
int watched_call(std::optional<FileCall> call, Make make) {
    if (call) {
        if (const int verdict = judge(*call); verdict > 0) {
            errno = verdict;
            return -1;
        }
    }
    const auto result = static_cast<int>(make());
    if (call && result >= 0) tell(*call);
    return result;
}

std::optional<FileCall> path_call(FileCall::Kind kind, int directory, const char* name) {
    auto path = watched_path(directory, name);
    if (!path) return std::nullopt;
    FileCall call;
    call.kind = kind;
    call.path = std::move(*path);
    return call;
}

std::optional<FileCall> two_paths_call(FileCall::Kind kind, int from_directory, const char* from,
                                       int to_directory, const char* to) {
    auto call = path_call(kind, from_directory, from);
    auto target = watched_path(to_directory, to);
    if (!call || !target) return std::nullopt;
    call->target = std::move(*target);
    return call;
}

std::optional<FileCall> fd_call(FileCall::Kind kind, int fd) {
    auto path = watched_fd(fd);
    if (!path) return std::nullopt;
    FileCall call;
    call.kind = kind;
    call.path = std::move(*path);
    call.fd = fd;
    return call;
}

int watched_open(int directory, const char* name, int flags, mode_t mode) {
    auto call = path_call(FileCall::Kind::open, directory, name);
    if (call) {
        call->flags = flags;
        if (const int verdict = judge(*call); verdict > 0) {
            errno = verdict;
            return -1;
        }
    }
    const int fd = static_cast<int>(::syscall(SYS_openat, directory, name, flags, mode));
    if (call && fd >= 0) {
        current->open[fd] = call->path;
        call->fd = fd;
        tell(*call);
    } else if (current != nullptr && fd >= 0) {
        // The number may have been a watched file's that the C library closed by itself.
        current->open.erase(fd);
    }
    return fd;
}

ssize_t watched_write(int fd, const void* bytes, std::size_t size) {
    auto call = fd_call(FileCall::Kind::write, fd);
    if (call) {
        call->data = std::string_view(static_cast<const char*>(bytes), size);
        const int verdict = judge(*call);
        if (verdict > 0) {
            errno = verdict;
            return -1;
        }
        if (verdict == half_write && size > 1) size /= 2;
    }
    const auto put = ::syscall(SYS_write, fd, bytes, size);
    if (call && put > 0) {
        call->data = call->data.substr(0, static_cast<std::size_t>(put));
        tell(*call);
    }
    return put;
}

int watched_close(int fd) {
    const auto call = fd_call(FileCall::Kind::close, fd);
    const int verdict = call ? judge(*call) : 0;
    if (call) current->open.erase(fd);
    const auto closed = static_cast<int>(::syscall(SYS_close, fd));
    if (call) tell(*call);
    if (verdict <= 0) return closed;
    // The descriptor is gone even so.
    errno = verdict;
    return -1;
}

std::string_view word_of(FileCall::Kind kind) {
    switch (kind) {
        case FileCall::Kind::open:
            return "open";
        case FileCall::Kind::read:
            return "read";
        case FileCall::Kind::write:
            return "write";
        case FileCall::Kind::sync:
            return "fsync";
        case FileCall::Kind::close:
            return "close";
        case FileCall::Kind::rename:
            return "rename";
        case FileCall::Kind::link:
            return "link";
        case FileCall::Kind::symlink:
            return "symlink";
        case FileCall::Kind::unlink:
            return "unlink";
        case FileCall::Kind::make_directory:
            return "mkdir";
        case FileCall::Kind::change_mode:
            return "fchmod";
    }
    return "?";
}

}  // namespace

std::string FileCall::describe() const {
    auto text = std::string(word_of(kind)) + " " + path;
    if (!target.empty()) text += " to " + target;
    return text;
}

FileCalls::FileCalls(const std::filesystem::path& below, Judge judge, Witness witness) {
    if (current != nullptr) throw std::logic_error("files are watched already");
    current = new Watch{below.string(), std::move(judge), std::move(witness), {}, false};
}

FileCalls::~FileCalls() {
    delete current;
    current = nullptr;
}

FailNthCall::FailNthCall(const std::filesystem::path& below, int nth, int verdict)
    : left_(nth),
      verdict_(verdict),
      calls_(below, [this](const FileCall& call) { return judge(call); }, {}) {}

int FailNthCall::judge(const FileCall& call) {
    const bool counts = verdict_ != half_write || call.kind == FileCall::Kind::write;
    if (!counts || left_ == 0 || --left_ > 0) return 0;
    failed_ = call.describe();
    kind_ = call.kind;
    return verdict_;
}

}  // namespace noxsup::test

// The C library's own names. The linker gives them to this program's objects and to its shared
// libraries, so that what std::filesystem does is seen as well; the sanitizers' own versions are
// passed by.
using noxsup::test::fd_call;
using noxsup::test::FileCall;
using noxsup::test::path_call;
using noxsup::test::two_paths_call;
using noxsup::test::watched_call;
using noxsup::test::watched_open;

namespace {

/// The mode argument, which is there when a file may be made.
mode_t mode_of(int flags, va_list arguments) {
    const bool makes = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
    return makes ? static_cast<mode_t>(va_arg(arguments, unsigned)) : 0;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const auto mode = mode_of(flags, arguments);
    va_end(arguments);
    return watched_open(AT_FDCWD, path, flags, mode);
}

int openat(int directory, const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const auto mode = mode_of(flags, arguments);
    va_end(arguments);
    return watched_open(directory, path, flags, mode);
}

ssize_t read(int fd, void* bytes, size_t size) {
    return watched_call(fd_call(FileCall::Kind::read, fd),
                        [=] { return ::syscall(SYS_read, fd, bytes, size); });
}

ssize_t write(int fd, const void* bytes, size_t size) {
    return noxsup::test::watched_write(fd, bytes, size);
}

int fsync(int fd) {
    const auto call = fd_call(FileCall::Kind::sync, fd);
    // A watched file's sync is noted, not made: no test looks at the medium.
    return watched_call(call, [&] { return call ? 0 : ::syscall(SYS_fsync, fd); });
}

int fdatasync(int fd) {
    const auto call = fd_call(FileCall::Kind::sync, fd);
    return watched_call(call, [&] { return call ? 0 : ::syscall(SYS_fdatasync, fd); });
}

int close(int fd) {
    return noxsup::test::watched_close(fd);
}

int fchmod(int fd, mode_t mode) __THROW {
    return watched_call(fd_call(FileCall::Kind::change_mode, fd),
                        [=] { return ::syscall(SYS_fchmod, fd, mode); });
}

int renameat2(int from_directory, const char* from, int to_directory, const char* to,
              unsigned flags) __THROW {
    return watched_call(
        two_paths_call(FileCall::Kind::rename, from_directory, from, to_directory, to),
        [=] { return ::syscall(SYS_renameat2, from_directory, from, to_directory, to, flags); });
}

int rename(const char* from, const char* to) __THROW {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int link(const char* from, const char* to) __THROW {
    return watched_call(two_paths_call(FileCall::Kind::link, AT_FDCWD, from, AT_FDCWD, to),
                        [=] { return ::syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0); });
}

int symlink(const char* target, const char* path) __THROW {
    auto call = path_call(FileCall::Kind::symlink, AT_FDCWD, path);
    if (call) call->target = target;
    return watched_call(std::move(call),
                        [=] { return ::syscall(SYS_symlinkat, target, AT_FDCWD, path); });
}

int unlinkat(int directory, const char* path, int flags) __THROW {
    return watched_call(path_call(FileCall::Kind::unlink, directory, path),
                        [=] { return ::syscall(SYS_unlinkat, directory, path, flags); });
}

int unlink(const char* path) __THROW {
    return unlinkat(AT_FDCWD, path, 0);
}

int mkdir(const char* path, mode_t mode) __THROW {
    return watched_call(path_call(FileCall::Kind::make_directory, AT_FDCWD, path),
                        [=] { return ::syscall(SYS_mkdirat, AT_FDCWD, path, mode); });
}
}
