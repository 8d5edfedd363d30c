#include "supervisor/launch/cgroup.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>

#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/launch/privilege.hpp"

namespace noxsup::launch {
namespace {

constexpr const char* tree_root = "/sys/fs/cgroup";
constexpr std::string_view supervisor_leaf = "supervisor";
constexpr std::size_t small_file = std::size_t{64} << 10;
constexpr long cgroup2_magic = 0x63677270;
/// Beside the guest's RAM: QEMU's own memory and buffers, page tables, and some page cache, without
/// which every read of the disk waits for another page to go.
constexpr std::uint64_t memory_beside = 256 * spec::mebibyte;
constexpr std::uint64_t memory_each_cpu = 16 * spec::mebibyte;
constexpr std::uint64_t table_share = 64;
/// The most that TCG keeps of translated code (QEMU's tb-size).
constexpr std::uint64_t translated_code = 1024 * spec::mebibyte;
constexpr unsigned cpu_percent_beside = 100;  ///< threads of I/O
constexpr unsigned cpu_period_us = 100'000;

/// Writes a value to a file of the kernel's; such a file is there or the thing is not possible.
/// @param fine an errno that is none here
Result<> put(const std::filesystem::path& file, std::string_view value, int fine = 0) {
    NOXSUP_TRY_VALUE(const auto fd, open_file(file, O_WRONLY | O_NOFOLLOW));
    if (::write(fd.get(), value.data(), value.size()) < 0 && errno != fine) {
        return errno_error("write \"" + std::string(value) + "\" to " + file.string(), errno);
    }
    return {};
}

bool is_delegated(const std::filesystem::path& directory) {
    for (const auto* name : {"trusted.delegate", "user.delegate"}) {
        std::array<char, 8> value{};
        if (::getxattr(directory.c_str(), name, value.data(), value.size()) == 1 && value[0] == '1')
            return true;
    }
    return false;
}

Result<> make_directory(const std::filesystem::path& path) {
    if (::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) return {};
    return errno_error("make cgroup " + path.string(), errno);
}

/// What helpers of ours are in the cgroup itself goes along: none may be left behind.
Result<> move_processes(const std::filesystem::path& from, const std::filesystem::path& into) {
    NOXSUP_TRY_VALUE(const auto text, read_file(from / "cgroup.procs", small_file));
    for (const auto& pid : split(text, '\n')) {
        if (pid.empty()) continue;
        // ESRCH: it has ended meanwhile.
        NOXSUP_TRY(put(into / "cgroup.procs", pid, ESRCH));
    }
    return {};
}

Result<> prepare(const std::filesystem::path& directory) {
    const auto own = directory / supervisor_leaf;
    NOXSUP_TRY(make_directory(own));
    NOXSUP_TRY(move_processes(directory, own));
    return put(directory / "cgroup.subtree_control", "+cpu +memory +pids");
}

}  // namespace

CgroupLimits cgroup_limits(const spec::VmSpec& spec) {
    CgroupLimits limits;
    limits.memory_bytes = spec.memory_bytes + spec.memory_bytes / table_share + memory_beside +
                          spec.cpus * memory_each_cpu;
    if (spec.accel != spec::Accel::kvm) limits.memory_bytes += translated_code;
    limits.tasks = max_tasks(spec);
    limits.cpu_percent = spec.cpus * 100 + cpu_percent_beside;
    return limits;
}

std::optional<std::string> parse_own_cgroup(std::string_view text) {
    for (const auto& line : split(text, '\n')) {
        if (line.starts_with("0::/")) return line.substr(3);
    }
    return std::nullopt;
}

CgroupTree CgroupTree::find() {
    CgroupTree none;
    const auto text = read_file("/proc/self/cgroup", small_file);
    const auto own = text ? parse_own_cgroup(*text) : std::nullopt;
    struct statfs info {};
    if (!own || ::statfs(tree_root, &info) != 0 || info.f_type != cgroup2_magic) {
        none.why_none_ = "this host has no cgroup v2 tree";
        return none;
    }
    auto directory = std::filesystem::path(tree_root + *own);
    // Where a supervisor has gone on in place, it is in its leaf already.
    if (directory.filename() == supervisor_leaf) directory = directory.parent_path();
    if (!is_delegated(directory)) {
        none.why_none_ = directory.string() + " was not delegated (Delegate=yes of a unit does it)";
        return none;
    }
    return take(std::move(directory));
}

CgroupTree CgroupTree::take(std::filesystem::path directory) {
    CgroupTree tree;
    tree.directory_ = std::move(directory);
    tree.why_none_.clear();
    if (const auto prepared = prepare(tree.directory_); !prepared)
        tree.why_none_ = prepared.error().message;
    return tree;
}

std::filesystem::path CgroupTree::leaf(std::string_view vm_id) const {
    return directory_ / ("vm-" + std::string(vm_id));
}

Result<UniqueFd> CgroupTree::make_leaf(std::string_view vm_id, const CgroupLimits& limits) const {
    const auto path = leaf(vm_id);
    NOXSUP_TRY(make_directory(path));
    NOXSUP_TRY(limit(vm_id, limits));
    return open_file(path / "cgroup.procs", O_WRONLY | O_NOFOLLOW);
}

Result<> CgroupTree::limit(std::string_view vm_id, const CgroupLimits& limits) const {
    const auto path = leaf(vm_id);
    NOXSUP_TRY(put(path / "memory.max", std::to_string(limits.memory_bytes)));
    NOXSUP_TRY(put(path / "pids.max", std::to_string(limits.tasks)));
    const auto quota = std::uint64_t{limits.cpu_percent} * cpu_period_us / 100;
    return put(path / "cpu.max", std::to_string(quota) + " " + std::to_string(cpu_period_us));
}

std::uint64_t CgroupTree::oom_kills(std::string_view vm_id) const {
    if (!why_none_.empty()) return 0;
    const auto text = read_file(leaf(vm_id) / "memory.events", small_file);
    if (!text) return 0;
    constexpr std::string_view key = "oom_kill ";
    for (const auto& line : split(*text, '\n')) {
        std::uint64_t count = 0;
        if (!line.starts_with(key)) continue;
        std::from_chars(line.data() + key.size(), line.data() + line.size(), count);
        return count;
    }
    return 0;
}

void CgroupTree::remove_leaf(std::string_view vm_id) const {
    if (why_none_.empty()) ::rmdir(leaf(vm_id).c_str());
}

ChildStep cgroup_step(int processes) {
    // 0 stands for the process that writes it.
    const auto act = [processes] { return ::write(processes, "0", 1) == 1 ? 0 : errno; };
    return {"enter its cgroup", act};
}

}  // namespace noxsup::launch
