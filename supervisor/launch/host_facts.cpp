#include "supervisor/launch/host_facts.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "supervisor/base/file.hpp"
#include "supervisor/base/number.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::launch {
namespace {

constexpr std::size_t proc_file_limit = std::size_t{4} << 20;  // /proc/interrupts of large machines

std::optional<std::uint64_t> leading_number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc() || end == text.data()) return std::nullopt;
    return value;
}

/// "MemAvailable:    1234 kB" in bytes; 0 when the line is missing.
std::uint64_t meminfo_bytes(std::string_view meminfo, std::string_view key) {
    for (const auto& line : split(meminfo, '\n')) {
        if (!line.starts_with(key)) continue;
        return leading_number(trim(std::string_view(line).substr(key.size()))).value_or(0) * 1024;
    }
    return 0;
}

/// CPUs in a list such as "0-3,6"; 0 when it is malformed.
unsigned count_cpu_list(std::string_view list) {
    std::uint64_t count = 0;
    for (const auto& part : split(trim(list), ',')) {
        const auto dash = part.find('-');
        const auto first = leading_number(part);
        const auto last = dash == std::string::npos
                              ? first
                              : leading_number(std::string_view(part).substr(dash + 1));
        if (!first || !last || *last < *first) return 0;
        count += *last - *first + 1;
    }
    return static_cast<unsigned>(count);
}

bool may_open_read_write(const std::filesystem::path& path) {
    return ::access(path.c_str(), R_OK | W_OK) == 0;
}

void read_interrupts(const std::filesystem::path& proc, HostFacts& facts) {
    const auto text = read_file(proc / "interrupts", proc_file_limit);
    if (!text) return;
    if (text->find("GICv3") != std::string::npos) {
        facts.gic_version = 3;
    } else if (text->find("GICv2") != std::string::npos ||
               text->find("GIC-0") != std::string::npos) {
        facts.gic_version = 2;
    }
    facts.vgic = text->find("vgic") != std::string::npos;
}

/// Numbers of a version compared one by one: "7.10" is newer than "7.9".
std::vector<std::uint64_t> version_numbers(std::string_view text) {
    std::vector<std::uint64_t> numbers;
    for (const auto& part : split(text, '.')) numbers.push_back(leading_number(part).value_or(0));
    return numbers;
}

/// The newest of the types that start with `prefix` and go on with a plain version number.
std::string newest_machine(const std::vector<std::string>& machines, std::string_view prefix) {
    std::string newest;
    for (const auto& machine : machines) {
        if (!machine.starts_with(prefix)) continue;
        const auto version = std::string_view(machine).substr(prefix.size());
        if (version.find_first_not_of("0123456789.") != std::string_view::npos) continue;
        if (newest.empty() || version_numbers(version) >
                                  version_numbers(std::string_view(newest).substr(prefix.size()))) {
            newest = machine;
        }
    }
    return newest;
}

std::string program_name(spec::Arch arch) {
    return arch == spec::Arch::arm64 ? "qemu-system-aarch64" : "qemu-system-x86_64";
}

std::optional<std::string> find_program_below(const std::filesystem::path& root,
                                              const std::string& name) {
    for (const auto* directory : {"usr/bin", "usr/local/bin"}) {
        auto path = root / directory / name;
        struct stat info {};
        if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
        if (::access(path.c_str(), X_OK) == 0) return path.string();
    }
    return std::nullopt;
}

}  // namespace

bool QemuBinary::supports(std::string_view machine_type) const {
    return std::ranges::find(machines, machine_type) != machines.end();
}

bool QemuBinary::is_at_least(unsigned major, unsigned minor) const {
    const auto parts = split(version, '.');
    if (parts.size() < 2) return false;
    const auto have_major = whole_number<unsigned>(parts[0]);
    const auto have_minor = whole_number<unsigned>(parts[1]);
    return have_major && have_minor &&
           std::pair(*have_major, *have_minor) >= std::pair(major, minor);
}

spec::Arch native_arch() {
#if defined(__aarch64__)
    return spec::Arch::arm64;
#else
    return spec::Arch::amd64;
#endif
}

Result<HostFacts> read_host_facts(const std::filesystem::path& root) {
    HostFacts facts;
    facts.arch = native_arch();
    facts.page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    const auto proc = root / "proc";
    const auto meminfo = read_file(proc / "meminfo", proc_file_limit);
    if (!meminfo)
        return Error{ErrorCode::io_error, "host facts: " + meminfo.error().message, "mount /proc"};
    facts.memory_total_bytes = meminfo_bytes(*meminfo, "MemTotal:");
    facts.memory_available_bytes = meminfo_bytes(*meminfo, "MemAvailable:");
    NOXSUP_TRY_VALUE(const auto boot_id, read_file(proc / "sys/kernel/random/boot_id", 256));
    facts.boot_id = std::string(trim(boot_id));
    const auto online = read_file(root / "sys/devices/system/cpu/online", 65536);
    facts.cpus = online ? count_cpu_list(*online) : 0;
    if (facts.cpus == 0)
        facts.cpus = static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
    facts.kvm_present = ::access((root / "dev/kvm").c_str(), F_OK) == 0;
    facts.kvm_accessible = may_open_read_write(root / "dev/kvm");
    facts.vhost_net_accessible = may_open_read_write(root / "dev/vhost-net");
    read_interrupts(proc, facts);
    return facts;
}

Result<QemuBinary> parse_qemu(std::string path, spec::Arch arch, std::string_view version_output,
                              std::string_view machine_output) {
    QemuBinary binary;
    binary.path = std::move(path);
    binary.arch = arch;
    constexpr std::string_view version_word = "version ";
    const auto at = version_output.find(version_word);
    if (at != std::string_view::npos) {
        const auto rest = version_output.substr(at + version_word.size());
        binary.version = rest.substr(0, rest.find_first_not_of("0123456789."));
    }
    const std::string_view alias = arch == spec::Arch::arm64 ? "virt" : "q35";
    for (const auto& line : split(machine_output, '\n')) {
        const auto name_end = line.find(' ');
        if (name_end == std::string::npos || line.starts_with("Supported machines")) continue;
        const auto name = line.substr(0, name_end);
        binary.machines.push_back(name);
        constexpr std::string_view alias_words = "(alias of ";
        const auto alias_at = line.find(alias_words);
        if (name == alias && alias_at != std::string::npos) {
            const auto target = line.substr(alias_at + alias_words.size());
            binary.machine = target.substr(0, target.find(')'));
        }
    }
    if (binary.machine.empty()) {
        binary.machine =
            newest_machine(binary.machines, arch == spec::Arch::arm64 ? "virt-" : "pc-q35-");
    }
    if (binary.version.empty() || binary.machine.empty()) {
        return Error{ErrorCode::command_failed,
                     binary.path + " names no " +
                         (binary.version.empty() ? "version" : "machine type of ours"),
                     "reinstall it: sudo apt install --reinstall " + qemu_package(arch)};
    }
    return binary;
}

boost::asio::awaitable<Result<QemuBinary>> find_qemu(CommandRunner& runner, spec::Arch arch,
                                                     std::filesystem::path root) {
    const auto name = program_name(arch);
    const auto path = find_program_below(root, name);
    if (!path) {
        co_return Error{ErrorCode::host_lacks_qemu, name + " is not installed",
                        "sudo apt install " + qemu_package(arch)};
    }
    Command version;
    version.argv = {*path, "--version"};
    version.deadline = std::chrono::seconds(10);
    Command machines = version;
    machines.argv = {*path, "-machine", "help"};
    NOXSUP_CO_TRY_VALUE(const auto version_output, co_await run_checked(runner, version));
    NOXSUP_CO_TRY_VALUE(const auto machine_output, co_await run_checked(runner, machines));
    co_return parse_qemu(*path, arch, version_output, machine_output);
}

std::string qemu_package(spec::Arch arch) {
    return arch == spec::Arch::arm64 ? "qemu-system-arm" : "qemu-system-x86";
}

unsigned max_cpus(const spec::VmSpec& spec, const HostFacts& facts) {
    const bool gicv2 =
        spec.arch == spec::Arch::arm64 && spec.accel == spec::Accel::kvm && facts.gic_version == 2;
    return gicv2 ? 8 : spec::max_cpus;
}

}  // namespace noxsup::launch
