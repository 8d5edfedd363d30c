// The description of one VM: everything that is pinned when it is created, as pure data with JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::spec {

enum class Arch { arm64, amd64 };
/// `automatic` is a request only; what a VM runs with is kvm or tcg.
enum class Accel { automatic, kvm, tcg };
enum class BootMode { firmware, kernel };
enum class ImageFormat { qcow2, raw };
/// `nat`: a bridge of ours, with addresses and names from us, that leads out through the host.
enum class NetworkMode { user, bridge, macvtap, nat };
enum class Protocol { tcp, udp };
enum class RestartPolicy { no, on_failure, always };
/// `last`: with the host, if it ran when the host went down.
enum class Autostart { off, on, last };

/// The words of the command line and of JSON: "arm64", "auto", "on-failure", ...
std::string_view to_string(Arch value);
std::string_view to_string(Accel value);
std::string_view to_string(BootMode value);
std::string_view to_string(ImageFormat value);
std::string_view to_string(NetworkMode value);
std::string_view to_string(Protocol value);
std::string_view to_string(RestartPolicy value);
std::string_view to_string(Autostart value);

/// The inverse of to_string; also knows the kernel's names of architectures (aarch64, x86_64).
/// Errors: invalid_argument with the words that are known.
template <class Enum>
Result<Enum> from_string(std::string_view word);
template <>
Result<Arch> from_string<Arch>(std::string_view word);
template <>
Result<Accel> from_string<Accel>(std::string_view word);
template <>
Result<BootMode> from_string<BootMode>(std::string_view word);
template <>
Result<ImageFormat> from_string<ImageFormat>(std::string_view word);
template <>
Result<NetworkMode> from_string<NetworkMode>(std::string_view word);
template <>
Result<Protocol> from_string<Protocol>(std::string_view word);
template <>
Result<RestartPolicy> from_string<RestartPolicy>(std::string_view word);
template <>
Result<Autostart> from_string<Autostart>(std::string_view word);

/// The writable disk: an overlay over an immutable base image.
struct Disk {
    std::uint64_t virtual_bytes = 0;
    ImageFormat format = ImageFormat::qcow2;       ///< of the VM's own file; never probed
    std::string base_file;                         ///< file name in images/; empty: no base
    ImageFormat base_format = ImageFormat::qcow2;  ///< of the base; never probed
    std::string base_digest;                       ///< SHA-256 of the base, 64 hex digits, or empty
    bool operator==(const Disk&) const = default;
};

/// How the machine starts. Firmware may be given together with a kernel (it then loads that
/// kernel).
struct Boot {
    BootMode mode = BootMode::firmware;
    std::string firmware_code;  ///< path of the firmware's code; empty: none
    std::string kernel;         ///< path or name in the VM's directory; mode kernel only
    std::string initrd;         ///< the same; may be empty
    std::string command_line;   ///< of the kernel
    /// Kernel and initrd are what the guest's own disk boots, and become others when they do; a
    /// guest whose boot cannot be taken over goes through firmware meanwhile.
    bool follow = false;
    std::string source;       ///< with follow, mode kernel: names what they were taken from
    std::string kernel_name;  ///< the same: the kernel's path in the guest
    bool operator==(const Boot&) const = default;
};

/// A port of the host that leads to one of the guest.
struct Publish {
    std::string host_address = "127.0.0.1";  ///< IPv4
    std::uint16_t host_port = 0;
    std::uint16_t guest_port = 0;
    Protocol protocol = Protocol::tcp;
    bool operator==(const Publish&) const = default;
};

/// One network card of the guest and what it is connected to on the host.
struct Network {
    /// The card's number, for as long as the VM has it: its place on the guest's PCI bus, its ids
    /// in QEMU and the name of its device on the host are made from it. Below max_networks.
    unsigned slot = 0;
    /// The root port for devices that come while the VM runs, 0 to spare_ports - 1, where it was
    /// plugged in; none: it has the slot's own place.
    std::optional<unsigned> spare_port;
    NetworkMode mode = NetworkMode::user;
    std::string mac;     ///< "52:54:00:aa:bb:cc", lower case
    std::string bridge;  ///< the host's bridge; mode macvtap: its network card
    std::string tap;     ///< name of the card's own device on the host, made from tap_id_of()
    std::uint16_t ssh_port = 0;  ///< mode user: loopback port that leads to the guest's 22; 0: none
    std::vector<Publish> publish;  ///< not mode macvtap
    bool restricted = false;       ///< mode user: the guest reaches nothing but the published ports
    std::vector<std::string> fixed_addresses;  ///< given by hand, without a prefix; not mode user
    bool allow_spoofing =
        false;               ///< modes bridge and nat: any source MAC and address may be sent from
    bool isolated = false;   ///< the same: no traffic with other VMs of this host
    std::uint64_t rate = 0;  ///< the same: bits a second, each way; 0: no limit
    std::uint16_t vlan = 0;  ///< mode bridge: the VLAN it is in; 0: as the bridge has it
    bool operator==(const Network&) const = default;
};

/// Whether the card is a TAP or macvtap device on the host; else QEMU itself is the other end.
inline bool has_tap(const Network& network) {
    return network.mode != NetworkMode::user;
}

/// What the seed was made with.
struct CloudInit {
    bool enabled = true;      ///< the VM has a seed ISO
    bool stock = false;       ///< no trimming of the first boot (--stock)
    std::string instance_id;  ///< new per VM and per clone
    bool operator==(const CloudInit&) const = default;
};

/// Whether and when a VM starts with the host.
struct AutostartRule {
    Autostart mode = Autostart::on;
    unsigned order = 100;        ///< lower ones start first and stop last
    unsigned delay_seconds = 0;  ///< waited after its start, before the next VM's
    bool operator==(const AutostartRule&) const = default;
};

inline constexpr unsigned max_autostart_order = 9999;
inline constexpr unsigned max_autostart_delay_seconds = 3600;

/// Errors: invalid_argument naming the value.
Result<> validate(const AutostartRule& rule);

/// One VM as stored in its meta.json.
struct VmSpec {
    std::string name;
    std::string uuid;        ///< RFC 4122, lower case
    std::string id;          ///< short id: 8 hex digits; names sockets and the TAP
    std::string created_at;  ///< RFC 3339
    std::string os;          ///< "debian:13"
    std::string image;       ///< name of the image as the user knows it
    Arch arch = Arch::amd64;
    Accel accel_requested = Accel::automatic;
    Accel accel = Accel::tcg;  ///< what was found at create: kvm or tcg
    std::string machine;       ///< versioned machine type: "virt-7.2", "pc-q35-7.2"
    unsigned cpus = 1;
    std::uint64_t memory_bytes = 0;  ///< a multiple of 1 MiB
    Disk disk;
    Boot boot;
    std::vector<Network> networks;  ///< 1 to max_networks; the first one leads to ssh
    CloudInit cloud_init;
    std::string user = "nox";
    AutostartRule autostart;
    RestartPolicy restart = RestartPolicy::no;
    /// The template whose frozen RAM it began with; its own id while it is made into one; or
    /// empty. For its life it gives no free memory back: pages of that RAM are not its own.
    std::string warm_template;
    Json extra = Json::object();  ///< members this build does not know; written back as they came
    bool operator==(const VmSpec&) const = default;
};

inline constexpr unsigned max_cpus = 255;
inline constexpr unsigned max_vlan = 4094;
inline constexpr std::size_t max_networks = 8;
inline constexpr unsigned spare_ports = 4;  ///< root ports for what comes while a VM runs
inline constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20;
inline constexpr std::uint64_t min_memory_bytes = 32 * mebibyte;
inline constexpr std::uint64_t max_memory_bytes = std::uint64_t{4} << 40;
inline constexpr std::uint64_t max_disk_bytes = std::uint64_t{64} << 40;

/// Whether the machine loads what the guest's own disk boots.
inline bool boots_directly(const Boot& boot) {
    return boot.follow && boot.mode == BootMode::kernel;
}
/// Whether the VM is there to become a template.
inline bool becomes_template(const VmSpec& spec) {
    return !spec.warm_template.empty() && spec.warm_template == spec.id;
}
/// Whether a card of the VM is a TAP device.
bool has_tap(const VmSpec& spec);
/// Whether a card of the VM is behind QEMU's user-mode networking.
bool has_user_network(const VmSpec& spec);
/// Whether any card lets this host reach the guest; a macvtap does not.
bool is_reached_from_host(const VmSpec& spec);
/// What the name of the TAP of the network card `slot` is made from: the VM's short id, and for
/// all but slot 0 the slot as one digit. No two VMs' are equal, as the short id's length is fixed.
std::string tap_id_of(std::string_view id, unsigned slot);

/// The rule for VM names: [a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?. Errors: invalid_name with the rule.
Result<> check_vm_name(std::string_view name);

/// The whole spec against its limits. Errors: invalid_name, cpus_out_of_range, invalid_size,
/// invalid_argument; each names the member and its value.
Result<> validate(const VmSpec& spec);

/// One object with "version": 1.
Json to_json(const VmSpec& spec);

/// Reads and validates. Unknown members are kept in `extra`. Errors: vm_damaged naming the member;
/// also for another version.
Result<VmSpec> from_json(const Json& json);

}  // namespace noxsup::spec
