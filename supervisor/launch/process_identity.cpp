#include "supervisor/launch/process_identity.hpp"

#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>

#include "supervisor/base/file.hpp"
#include "supervisor/base/pidfd.hpp"
#include "supervisor/base/proc_stat.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::launch {
namespace {

/// Linux takes 6 MiB of arguments at most.
constexpr std::size_t max_arguments_bytes = std::size_t{8} << 20;

}  // namespace

Json to_json(const ProcessIdentity& identity) {
    return {
        {"pid", identity.pid}, {"start_time", identity.start_time}, {"boot_id", identity.boot_id}};
}

Result<ProcessIdentity> identity_from_json(const Json& json) {
    ProcessIdentity identity;
    NOXSUP_TRY_VALUE(identity.pid, json_member<pid_t>(json, "pid"));
    NOXSUP_TRY_VALUE(identity.start_time, json_member<std::uint64_t>(json, "start_time"));
    NOXSUP_TRY_VALUE(identity.boot_id, json_member<std::string>(json, "boot_id"));
    // init can be no QEMU of ours, and 0 and below mean groups to the system calls.
    if (identity.pid < 2) {
        return Error{ErrorCode::protocol_error,
                     "member \"pid\" is " + std::to_string(identity.pid)};
    }
    return identity;
}

Result<std::string> read_boot_id() {
    NOXSUP_TRY_VALUE(const auto text, read_file("/proc/sys/kernel/random/boot_id", 256));
    return std::string(trim(text));
}

Result<std::uint64_t> read_start_time(pid_t pid) {
    const auto gone = [pid] {
        return Error{ErrorCode::failed, "there is no process " + std::to_string(pid)};
    };
    const auto stat = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
    if (!stat) return gone();
    constexpr std::size_t start_time_field = 22;
    const auto value = proc_stat_number(*stat, start_time_field);
    if (!value) return gone();
    return *value;
}

Result<ProcessIdentity> identify(pid_t pid) {
    ProcessIdentity identity;
    identity.pid = pid;
    NOXSUP_TRY_VALUE(identity.boot_id, read_boot_id());
    NOXSUP_TRY_VALUE(identity.start_time, read_start_time(pid));
    return identity;
}

Result<UniqueFd> open_identified(const ProcessIdentity& identity) {
    NOXSUP_TRY_VALUE(const auto boot_id, read_boot_id());
    if (identity.pid < 2 || identity.boot_id != boot_id) return UniqueFd();
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, identity.pid, 0U)));
    if (!pidfd) {
        // EINVAL: the number belongs to a thread now. Anything else says nothing about the process.
        if (errno == ESRCH || errno == EINVAL) return UniqueFd();
        return errno_error("pidfd of process " + std::to_string(identity.pid), errno);
    }
    // Only now: the pidfd holds on to one process, whichever it is; the start time says which.
    const auto start_time = read_start_time(identity.pid);
    if (!start_time || *start_time != identity.start_time || process_ended(pidfd.get()))
        return UniqueFd();
    return pidfd;
}

std::vector<std::string> arguments_of(pid_t pid) {
    const auto text = read_file("/proc/" + std::to_string(pid) + "/cmdline", max_arguments_bytes);
    if (!text) return {};
    auto words = split(*text, '\0');
    // Each one ends with a NUL.
    if (!words.empty() && words.back().empty()) words.pop_back();
    return words;
}

bool has_argument(pid_t pid, std::string_view word) {
    const auto words = arguments_of(pid);
    return std::ranges::find(words, word) != words.end();
}

}  // namespace noxsup::launch
