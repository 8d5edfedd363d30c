// What a guest's disk says of its own boot: the worker's request and report.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "imaging/grub_menu.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// Descriptors are borrowed.
struct BootRequest {
    std::vector<int> chain;  ///< the guest's qcow2 disk first, its base last
    int kernel_fd = -1;      ///< empty files that get what the guest would load; -1: only look
    int initrd_fd = -1;
    std::string known;                 ///< a report's source that needs no copies
    std::uint64_t max_file_bytes = 0;  ///< of each
};

struct BootReport {
    BootEntry entry;
    /// Names what the entry is and the files it leads to, by their inodes: another one, and the
    /// guest has changed something.
    std::string source;
    std::string kernel_arch;  ///< "arm64", "amd64", or empty where it is neither's
    /// The initial RAM disk is of initramfs-tools, and the system runs systemd.
    bool takes_units = false;
    bool copied = false;
};

Json to_json(const BootRequest& request);
Json to_json(const BootReport& report);
Result<BootRequest> boot_request_from_json(const Json& json);
/// Judges the texts too: whoever wrote them has read a guest's disk. Errors: protocol_error.
Result<BootReport> boot_report_from_json(const Json& json);

}  // namespace noxsup::imaging
