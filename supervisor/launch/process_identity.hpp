// Which process a VM's QEMU is, told apart from a stranger with the same pid, now and after a
// reboot.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::launch {

/// A pid means nothing without the start time and the boot it belongs to.
struct ProcessIdentity {
    pid_t pid = -1;
    std::uint64_t start_time = 0;  ///< field 22 of /proc/PID/stat: clock ticks after boot
    std::string boot_id;
    bool operator==(const ProcessIdentity&) const = default;
};

Json to_json(const ProcessIdentity& identity);
/// Errors: protocol_error naming the member; a pid below 2 is refused.
Result<ProcessIdentity> identity_from_json(const Json& json);

/// /proc/sys/kernel/random/boot_id. Errors: unreadable_file.
Result<std::string> read_boot_id();

/// Field 22 of /proc/PID/stat. Errors: failed when there is no such process.
Result<std::uint64_t> read_start_time(pid_t pid);

/// The identity of a living process. Errors: failed when there is no such process.
Result<ProcessIdentity> identify(pid_t pid);

/// A pidfd of exactly the recorded process: opened first, verified after. An empty UniqueFd when
/// that process is gone (another boot, no such pid, another start time). Errors: io_error.
Result<UniqueFd> open_identified(const ProcessIdentity& identity);

/// The words that a process was started with (/proc/PID/cmdline). Only of use while a pidfd holds
/// on to it. None when it is gone.
std::vector<std::string> arguments_of(pid_t pid);

/// Whether a process was started with this word among its arguments (/proc/PID/cmdline). Only of
/// use while a pidfd holds on to it. False when it is gone.
bool has_argument(pid_t pid, std::string_view word);

}  // namespace noxsup::launch
