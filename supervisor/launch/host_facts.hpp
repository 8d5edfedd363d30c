// What this host offers to a VM: QEMU programs, machine types, firmware, KVM, processors and
// memory.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/command.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::launch {

/// One qemu-system-* program and what it says of itself.
struct QemuBinary {
    std::string path;  ///< absolute
    spec::Arch arch = spec::Arch::amd64;
    std::string version;                ///< "7.2.22"
    std::string machine;                ///< newest versioned type behind `virt` / `q35`: "virt-7.2"
    std::vector<std::string> machines;  ///< every machine type it supports
    [[nodiscard]] bool supports(std::string_view machine_type) const;
    /// Whether `version` is that release or a later one.
    [[nodiscard]] bool is_at_least(unsigned major, unsigned minor) const;
};

/// A pair of firmware files: code is used where it is, the variables are copied for each VM.
struct Firmware {
    std::string code;
    std::string vars_template;
    bool operator==(const Firmware&) const = default;
};

/// Facts that cost a few small reads below /proc and /dev; no program is run.
struct HostFacts {
    spec::Arch arch = spec::Arch::amd64;
    unsigned cpus = 1;
    std::uint64_t memory_total_bytes = 0;
    std::uint64_t memory_available_bytes = 0;
    std::uint64_t page_bytes = 4096;
    std::string boot_id;          ///< names this boot of the host
    bool kvm_present = false;     ///< /dev/kvm exists
    bool kvm_accessible = false;  ///< and we may open it for reading and writing
    bool vhost_net_accessible = false;
    std::optional<int> gic_version;  ///< arm64: 2 or 3, from /proc/interrupts
    bool vgic = false;               ///< arm64: the kernel has a vGIC maintenance interrupt
};

/// Reads the facts. @param root "/" or a fake tree of a test.
/// Errors: io_error when /proc is not there; everything else missing is a fact, not an error.
Result<HostFacts> read_host_facts(const std::filesystem::path& root = "/");

/// The architecture this program was built for, which is the one KVM can run.
spec::Arch native_arch();

/// The QEMU program for an architecture, with version and machine types, by running it twice.
/// @param root where usr/bin and usr/local/bin are looked for: "/" or a fake tree of a test
/// Errors: host_lacks_qemu with the apt line; command_failed or timeout when it misbehaves.
boost::asio::awaitable<Result<QemuBinary>> find_qemu(CommandRunner& runner, spec::Arch arch,
                                                     std::filesystem::path root = "/");

/// What a run of `--version` and of `-machine help` says. Errors: command_failed naming the path.
Result<QemuBinary> parse_qemu(std::string path, spec::Arch arch, std::string_view version_output,
                              std::string_view machine_output);

/// Firmware for an architecture that boots unsigned systems too (no enforced Secure Boot): from the
/// firmware descriptors (docs/interop/firmware.json of QEMU), else from Debian's known paths.
/// Errors: host_lacks_firmware with the apt line.
Result<Firmware> find_firmware(spec::Arch arch, const std::filesystem::path& root = "/");

/// A VM's own copy of the variables; runs of zeros become holes (AAVMF's are 64 MiB, nearly all
/// zero). The destination must not exist. Errors: already_exists, unreadable_file, io_error,
/// no_space; nothing is left behind then.
Result<> copy_firmware_vars(const std::filesystem::path& source,
                            const std::filesystem::path& destination);

/// The package that brings QEMU or firmware for an architecture, for hints: "qemu-system-arm".
std::string qemu_package(spec::Arch arch);
std::string firmware_package(spec::Arch arch);

/// CPUs a VM of this machine can have: 8 where KVM gives it a GICv2, otherwise spec::max_cpus.
unsigned max_cpus(const spec::VmSpec& spec, const HostFacts& facts);

}  // namespace noxsup::launch
