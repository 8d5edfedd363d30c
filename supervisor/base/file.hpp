// Files read with limits and written so that a power cut leaves the old or the new one, never
// neither.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup {

/// open(2) with O_CLOEXEC added. Errors: unreadable_file, no_space or io_error naming the path.
Result<UniqueFd> open_file(const std::filesystem::path& path, int flags, mode_t mode = 0600);

/// The same below a directory descriptor; never follows a symbolic link in the last component.
Result<UniqueFd> open_file_at(int directory, std::string_view name, int flags, mode_t mode = 0600);

/// The whole file. Errors: unreadable_file (also for a file of more than `limit` bytes and for what
/// is not a regular file).
Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit);

/// Everything from the descriptor's position on, at most `limit` bytes. `what` names it in errors.
Result<std::string> read_all(int fd, std::size_t limit, std::string_view what);

/// Writes all bytes, through EINTR and short writes. `what` names the file in errors.
Result<> write_all(int fd, std::string_view data, std::string_view what);

/// Replaces `path`: temporary file beside it, fsync, rename, fsync of the directory. On an error
/// the old file stands and the temporary one is gone.
Result<> write_file_atomic(const std::filesystem::path& path, std::string_view data, mode_t mode);

/// fsync of a directory, so that names made, renamed or removed in it are on the medium.
Result<> sync_directory(const std::filesystem::path& path);

/// mkdir with mode for each missing part. Errors: io_error, no_space.
Result<> make_directories(const std::filesystem::path& path, mode_t mode);

}  // namespace noxsup
