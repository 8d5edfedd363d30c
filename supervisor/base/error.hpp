// What went wrong, in one value: a stable code, what failed, the evidence and what to do next.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace noxsup {

/// Every kind of failure a user can meet. The stable name and exit code of each is in error.cpp's
/// table.
enum class ErrorCode {
    // 1: the command line or its input is wrong
    invalid_argument,
    invalid_name,
    invalid_size,
    cpus_out_of_range,
    disk_too_small,
    unreadable_file,
    invalid_cloud_init,
    // 2: it failed
    failed,
    io_error,
    protocol_error,
    command_failed,
    qemu_failed,
    guest_failed,
    image_invalid,
    image_hostile,
    digest_mismatch,
    download_failed,
    vendor_unreachable,
    // 3: supervisor unreachable or of another version
    supervisor_unreachable,
    protocol_mismatch,
    // 4: unknown object
    vm_not_found,
    image_not_found,
    // 5: exists already, wrong state
    already_exists,
    wrong_state,
    image_in_use,
    vm_damaged,
    vm_foreign,
    daemon_running,
    port_taken,
    mac_taken,
    address_taken,
    // 6: a deadline passed
    timeout,
    // 7: out of something
    no_space,
    no_memory,
    no_ports,
    no_uids,
    // 8: the host lacks something
    host_lacks_kvm,
    host_lacks_qemu,
    host_lacks_firmware,
    host_lacks_bridge,
    host_lacks_right,
    host_lacks_tool,
    // 130
    interrupted,
};

/// The stable name of a code, as in `error.code` of the JSON output: "vm-not-found".
std::string_view error_code_name(ErrorCode code);
/// The inverse of error_code_name; `ErrorCode::failed` for a name this build does not know.
ErrorCode error_code_from_name(std::string_view name);
/// The exit code of the command line for it (1 to 8 or 130).
int exit_code_of(ErrorCode code);
/// All codes in table order, for documentation and tests.
const std::vector<ErrorCode>& all_error_codes();

/// A failure on its way to the user; printed once, at the edge.
struct Error {
    /// Boost.System's result::error() needs it; nobody else does.
    Error() = default;
    Error(ErrorCode error_code, std::string error_message, std::string error_hint = {})
        : code(error_code), message(std::move(error_message)), hint(std::move(error_hint)) {}

    ErrorCode code = ErrorCode::failed;
    std::string
        message;        ///< what failed, with its object: "read vms/a/meta.json: Permission denied"
    std::string hint;   ///< the next command to try, or empty
    std::string stage;  ///< stage of a long command (image, disk, seed, launch, ...), or empty
    std::vector<std::string> evidence;  ///< lines in others' words: QEMU's stderr, console output

    /// Puts the caller's view before the message: "attach tap nx3f to br0: Device busy".
    Error&& context(std::string_view what) &&;
    Error& context(std::string_view what) &;
};

/// An error from errno: "WHAT: strerror"; ENOSPC and EDQUOT become no_space, ENOMEM no_memory.
/// @param otherwise the code for every other errno
Error errno_error(std::string_view what, int errno_value,
                  ErrorCode otherwise = ErrorCode::io_error);

}  // namespace noxsup
