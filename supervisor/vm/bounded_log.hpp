// A log file that cannot fill the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::vm {

/// What one log file may hold; with its predecessor ("NAME.1") a VM's log stays below twice that.
inline constexpr std::uint64_t max_log_bytes = std::uint64_t{1} << 20;

/// Copies a log to "NAME.1" and empties it when it has grown beyond the limit. Writers that opened
/// it O_APPEND go on without a hole. A missing log is fine. Errors: io_error, no_space.
Result<> bound_log(const std::filesystem::path& path, std::uint64_t limit = max_log_bytes);

/// Appends to a file and keeps it bounded.
class BoundedLog {
  public:
    /// Opens or makes the file, mode 0600. Errors: io_error, no_space.
    static Result<BoundedLog> open(std::filesystem::path path, std::uint64_t limit = max_log_bytes);

    /// A failing disk loses log lines and nothing else: the first failure is logged, later ones are
    /// not.
    void append(std::string_view data);

  private:
    BoundedLog(std::filesystem::path path, UniqueFd fd, std::uint64_t size, std::uint64_t limit)
        : path_(std::move(path)), fd_(std::move(fd)), size_(size), limit_(limit) {}

    std::filesystem::path path_;
    UniqueFd fd_;
    std::uint64_t size_;
    std::uint64_t limit_;
    bool failing_ = false;
};

}  // namespace noxsup::vm
