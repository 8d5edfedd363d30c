// Landlock: rules on files and TCP ports that a process puts on itself and on all it becomes.
#pragma once

#include <cstdint>
#include <string>

#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup {

/// Rights of the kernel's interface (include/uapi/linux/landlock.h), with the additions of later
/// kernels than the build machine's headers know.
namespace landlock {
inline constexpr std::uint64_t execute = 1U << 0U;
inline constexpr std::uint64_t write_file = 1U << 1U;
inline constexpr std::uint64_t read_file = 1U << 2U;
inline constexpr std::uint64_t read_dir = 1U << 3U;
inline constexpr std::uint64_t truncate = 1U << 14U;
inline constexpr std::uint64_t ioctl_device = 1U << 15U;
inline constexpr std::uint64_t tcp_bind = 1U << 0U;
inline constexpr std::uint64_t tcp_connect = 1U << 1U;
}  // namespace landlock

/// The version of the kernel's Landlock; 0 where it has none or was told to do without.
int landlock_abi();

/// A set of rules: whatever is not allowed is refused once it is enforced. Descriptors that are
/// open by then keep the rights they were opened with.
class LandlockRules {
  public:
    /// Handles every right on files that this kernel knows, `tcp` of the rights on TCP, and keeps
    /// signals and abstract sockets inside; older kernels handle what they know.
    /// @pre landlock_abi() > 0. Errors: io_error.
    static Result<LandlockRules> make(std::uint64_t tcp);

    /// Allows `access` on the file, or below the directory, behind a descriptor (O_PATH will do).
    /// A file that no path leads to (a memfd) needs no rule and gets none. Errors: io_error.
    [[nodiscard]] Result<> allow(int fd, std::uint64_t access) const;
    /// The same by system calls alone, so also between fork and exec. Returns 0 or errno.
    [[nodiscard]] int add(int fd, std::uint64_t access) const;
    /// allow() by path. What is not there on this system needs no rule. Errors: io_error.
    [[nodiscard]] Result<> allow_path(const std::string& path, std::uint64_t access) const;

    /// Puts the rules on the calling thread for ever. One system call, so also between fork and
    /// exec. @pre no_new_privs is set. Returns 0 or errno.
    [[nodiscard]] int enforce() const;

  private:
    LandlockRules(UniqueFd fd, std::uint64_t handled) : fd_(std::move(fd)), handled_(handled) {}

    UniqueFd fd_;
    std::uint64_t handled_;
};

}  // namespace noxsup
