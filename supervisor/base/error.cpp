#include "supervisor/base/error.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

namespace noxsup {
namespace {

struct Row {
    ErrorCode code;
    std::string_view name;
    int exit;
};

constexpr std::array table{
    Row{ErrorCode::invalid_argument, "invalid-argument", 1},
    Row{ErrorCode::invalid_name, "invalid-name", 1},
    Row{ErrorCode::invalid_size, "invalid-size", 1},
    Row{ErrorCode::cpus_out_of_range, "cpus-out-of-range", 1},
    Row{ErrorCode::disk_too_small, "disk-too-small", 1},
    Row{ErrorCode::unreadable_file, "unreadable-file", 1},
    Row{ErrorCode::invalid_cloud_init, "invalid-cloud-init", 1},
    Row{ErrorCode::failed, "failed", 2},
    Row{ErrorCode::io_error, "io-error", 2},
    Row{ErrorCode::protocol_error, "protocol-error", 2},
    Row{ErrorCode::command_failed, "command-failed", 2},
    Row{ErrorCode::qemu_failed, "qemu-failed", 2},
    Row{ErrorCode::guest_failed, "guest-failed", 2},
    Row{ErrorCode::image_invalid, "image-invalid", 2},
    Row{ErrorCode::image_hostile, "image-hostile", 2},
    Row{ErrorCode::digest_mismatch, "digest-mismatch", 2},
    Row{ErrorCode::download_failed, "download-failed", 2},
    Row{ErrorCode::vendor_unreachable, "vendor-unreachable", 2},
    Row{ErrorCode::supervisor_unreachable, "supervisor-unreachable", 3},
    Row{ErrorCode::protocol_mismatch, "protocol-mismatch", 3},
    Row{ErrorCode::vm_not_found, "vm-not-found", 4},
    Row{ErrorCode::image_not_found, "image-not-found", 4},
    Row{ErrorCode::already_exists, "already-exists", 5},
    Row{ErrorCode::wrong_state, "wrong-state", 5},
    Row{ErrorCode::image_in_use, "image-in-use", 5},
    Row{ErrorCode::vm_damaged, "vm-damaged", 5},
    Row{ErrorCode::vm_foreign, "vm-foreign", 5},
    Row{ErrorCode::daemon_running, "daemon-running", 5},
    Row{ErrorCode::port_taken, "port-taken", 5},
    Row{ErrorCode::mac_taken, "mac-taken", 5},
    Row{ErrorCode::address_taken, "address-taken", 5},
    Row{ErrorCode::timeout, "timeout", 6},
    Row{ErrorCode::no_space, "no-space", 7},
    Row{ErrorCode::no_memory, "no-memory", 7},
    Row{ErrorCode::no_ports, "no-ports", 7},
    Row{ErrorCode::no_uids, "no-uids", 7},
    Row{ErrorCode::host_lacks_kvm, "host-lacks-kvm", 8},
    Row{ErrorCode::host_lacks_qemu, "host-lacks-qemu", 8},
    Row{ErrorCode::host_lacks_firmware, "host-lacks-firmware", 8},
    Row{ErrorCode::host_lacks_bridge, "host-lacks-bridge", 8},
    Row{ErrorCode::host_lacks_right, "host-lacks-right", 8},
    Row{ErrorCode::host_lacks_tool, "host-lacks-tool", 8},
    Row{ErrorCode::interrupted, "interrupted", 130},
};

const Row& row_of(ErrorCode code) {
    // The table is in the order of the enumeration (a test checks it), so the index is the code.
    return table.at(static_cast<std::size_t>(code));
}

std::string_view next_step(ErrorCode code, int errno_value) {
    if (code == ErrorCode::no_space) return "free some space there, then repeat the command";
    if (code != ErrorCode::unreadable_file) return "";
    switch (errno_value) {
        case EACCES:
        case EPERM:
            return "let this user read it (ls -l shows its rights), or name another file";
        case ENOENT:
        case ENOTDIR:
        case ELOOP:
            return "look at the path, or name another file";
        default:
            return "";
    }
}

}  // namespace

std::string_view error_code_name(ErrorCode code) {
    return row_of(code).name;
}

ErrorCode error_code_from_name(std::string_view name) {
    const auto* found = std::ranges::find(table, name, &Row::name);
    return found == table.end() ? ErrorCode::failed : found->code;
}

int exit_code_of(ErrorCode code) {
    return row_of(code).exit;
}

const std::vector<ErrorCode>& all_error_codes() {
    static const std::vector<ErrorCode> codes = [] {
        std::vector<ErrorCode> result;
        result.reserve(table.size());
        for (const auto& row : table) result.push_back(row.code);
        return result;
    }();
    return codes;
}

Error& Error::context(std::string_view what) & {
    message.insert(0, ": ").insert(0, what);
    return *this;
}

Error&& Error::context(std::string_view what) && {
    context(what);
    return std::move(*this);
}

Error errno_error(std::string_view what, int errno_value, ErrorCode otherwise) {
    auto code = otherwise;
    if (errno_value == ENOSPC || errno_value == EDQUOT) code = ErrorCode::no_space;
    if (errno_value == ENOMEM) code = ErrorCode::no_memory;
    return {code, std::string(what) + ": " + std::generic_category().message(errno_value),
            std::string(next_step(code, errno_value))};
}

}  // namespace noxsup
