#include "supervisor/vm/usage.hpp"

#include <unistd.h>

#include <filesystem>

#include "supervisor/base/file.hpp"
#include "supervisor/base/number.hpp"
#include "supervisor/base/proc_stat.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::vm {
namespace {

constexpr std::size_t max_proc_bytes = std::size_t{16} << 20;
constexpr std::uint64_t kibibyte = 1024;

/// The number behind "Key:" of a line, without its unit.
std::optional<std::uint64_t> value_of(std::string_view line, std::string_view key) {
    if (!line.starts_with(key)) return std::nullopt;
    line = trim(line.substr(key.size()));
    return whole_number<std::uint64_t>(line.substr(0, line.find(' ')));
}

/// The bytes of a mapping's first line, "7f0000000000-7f0020000000 rw-p ...".
std::optional<std::uint64_t> mapping_bytes(std::string_view line) {
    const auto dash = line.find('-');
    const auto space = line.find(' ');
    if (dash == std::string_view::npos || space == std::string_view::npos || dash > space)
        return std::nullopt;
    const auto begin = whole_number<std::uint64_t>(line.substr(0, dash), 16);
    const auto end = whole_number<std::uint64_t>(line.substr(dash + 1, space - dash - 1), 16);
    if (!begin || !end || *end < *begin) return std::nullopt;
    return *end - *begin;
}

std::optional<std::uint64_t> counter_of(const std::string& device, const char* counter) {
    const auto text = read_file("/sys/class/net/" + device + "/statistics/" + counter, 64);
    return text ? whole_number<std::uint64_t>(trim(*text)) : std::nullopt;
}

/// The host's end of a TAP receives what the guest sends.
std::optional<Transferred> network_of(const std::vector<std::string>& devices) {
    std::optional<Transferred> sum;
    for (const auto& device : devices) {
        const auto to_guest = counter_of(device, "tx_bytes");
        const auto from_guest = counter_of(device, "rx_bytes");
        if (!to_guest || !from_guest) continue;
        if (!sum) sum.emplace();
        sum->in += *to_guest;
        sum->out += *from_guest;
    }
    return sum;
}

/// What everybody may read: without what is shared being divided.
MemoryUse resident(const std::filesystem::path& proc) {
    MemoryUse use;
    const auto text = read_file(proc / "statm", 256);
    if (!text) return use;
    const auto fields = split(trim(*text), ' ');
    if (fields.size() < 2) return use;
    use.bytes = whole_number<std::uint64_t>(fields[1]).value_or(0) *
                static_cast<std::uint64_t>(::getpagesize());
    return use;
}

}  // namespace

std::optional<double> parse_cpu_seconds(std::string_view stat, long ticks) {
    constexpr std::size_t user_time = 14;
    constexpr std::size_t system_time = 15;
    const auto user = proc_stat_number(stat, user_time);
    const auto system = proc_stat_number(stat, system_time);
    if (!user || !system || ticks <= 0) return std::nullopt;
    return static_cast<double>(*user + *system) / static_cast<double>(ticks);
}

MemoryUse parse_memory(std::string_view smaps, std::uint64_t ram_bytes) {
    MemoryUse use;
    bool is_ram = false;
    while (!smaps.empty()) {
        const auto end = smaps.find('\n');
        const auto line = smaps.substr(0, end);
        smaps.remove_prefix(end == std::string_view::npos ? smaps.size() : end + 1);
        if (const auto bytes = mapping_bytes(line)) {
            is_ram = *bytes == ram_bytes;
        } else if (const auto share = value_of(line, "Pss:")) {
            use.bytes += *share * kibibyte;
            if (is_ram) use.guest = use.guest.value_or(0) + *share * kibibyte;
        }
    }
    return use;
}

std::optional<Transferred> parse_disk(std::string_view io) {
    Transferred disk;
    int found = 0;
    for (const auto& line : split(io, '\n')) {
        if (const auto read = value_of(line, "read_bytes:")) {
            disk.in = *read;
            ++found;
        } else if (const auto written = value_of(line, "write_bytes:")) {
            disk.out = *written;
            ++found;
        }
    }
    return found == 2 ? std::optional(disk) : std::nullopt;
}

Result<Usage> read_usage(const UsageTarget& target) {
    const std::filesystem::path proc = "/proc/" + std::to_string(target.pid);
    Usage usage;
    NOXSUP_TRY_VALUE(const auto stat, read_file(proc / "stat", max_proc_bytes));
    usage.cpu_seconds = parse_cpu_seconds(stat, ::sysconf(_SC_CLK_TCK)).value_or(0);
    const auto smaps = read_file(proc / "smaps", max_proc_bytes);
    usage.memory = smaps ? parse_memory(*smaps, target.ram_bytes) : resident(proc);
    if (const auto io = read_file(proc / "io", max_proc_bytes)) usage.disk = parse_disk(*io);
    usage.network = network_of(target.devices);
    return usage;
}

Json to_json(const Usage& usage) {
    Json json{{"cpu_seconds", usage.cpu_seconds}, {"memory_bytes", usage.memory.bytes}};
    if (usage.memory.guest) {
        json["guest_bytes"] = *usage.memory.guest;
        json["overhead_bytes"] = usage.memory.bytes - *usage.memory.guest;
    }
    if (usage.disk) {
        json["read_bytes"] = usage.disk->in;
        json["written_bytes"] = usage.disk->out;
    }
    if (usage.network) {
        json["received_bytes"] = usage.network->in;
        json["sent_bytes"] = usage.network->out;
    }
    return json;
}

}  // namespace noxsup::vm
