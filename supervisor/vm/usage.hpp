// What a running VM takes of the host, as the kernel counts it: no QEMU and no guest is asked, so
// none of them holds the answer up.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::vm {

/// Bytes of memory that a process holds.
struct MemoryUse {
    std::uint64_t bytes = 0;  ///< proportional: what processes share is divided among them
    std::optional<std::uint64_t> guest;  ///< of these, the guest's RAM; none: not to be told apart
    bool operator==(const MemoryUse&) const = default;
};

/// Bytes since the process or the device began.
struct Transferred {
    std::uint64_t in = 0;   ///< read from the disk; received by the guest
    std::uint64_t out = 0;  ///< written to the disk; sent by the guest
    bool operator==(const Transferred&) const = default;
};

/// One look at a VM.
struct Usage {
    double cpu_seconds = 0;  ///< of all threads of its QEMU: vCPUs, I/O, emulation
    MemoryUse memory;
    std::optional<Transferred> disk;     ///< what reached the storage; none: not ours to see
    std::optional<Transferred> network;  ///< of the TAP and macvtap devices; none without any
};

/// What is looked at.
struct UsageTarget {
    pid_t pid = 0;
    std::uint64_t ram_bytes = 0;       ///< of the guest
    std::vector<std::string> devices;  ///< of the host, one a card that has one
};

/// utime and stime of /proc/PID/stat (proc(5)); nothing for another text.
/// @param ticks a second has so many (sysconf(_SC_CLK_TCK))
std::optional<double> parse_cpu_seconds(std::string_view stat, long ticks);

/// /proc/PID/smaps (proc(5)). The guest's RAM is the mapping of exactly `ram_bytes`: QEMU maps it
/// whole, with a guard page behind it.
MemoryUse parse_memory(std::string_view smaps, std::uint64_t ram_bytes);

/// read_bytes and write_bytes of /proc/PID/io (proc(5)); nothing for another text.
std::optional<Transferred> parse_disk(std::string_view io);

/// Reads all of it. Blocks for the milliseconds that the kernel needs to walk the page tables.
/// Errors: io_error when the process is gone.
Result<Usage> read_usage(const UsageTarget& target);

/// {cpu_seconds, memory_bytes, guest_bytes?, overhead_bytes?, read_bytes?, written_bytes?,
/// received_bytes?, sent_bytes?}
Json to_json(const Usage& usage);

}  // namespace noxsup::vm
