#include "supervisor/spec/vm_spec.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <set>

#include "supervisor/base/text.hpp"

namespace noxsup::spec {
namespace {

bool is_lower_alphanumeric(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}
bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool all_hex(std::string_view text, std::size_t length) {
    return text.size() == length && std::ranges::all_of(text, is_hex);
}

Error wrong(std::string_view member, std::string_view value, std::string_view rule,
            ErrorCode code = ErrorCode::invalid_argument) {
    return {code,
            std::string(member) + " \"" + escape_for_terminal(value) + "\" " + std::string(rule)};
}

Error wrong_size(std::string_view member, std::uint64_t bytes, const std::string& rule) {
    return {ErrorCode::invalid_size,
            std::string(member) + " of " + std::to_string(bytes) + " bytes " + rule};
}

/// "8-4-4-4-12" lower-case hexadecimal digits.
bool is_uuid(std::string_view text) {
    if (text.size() != 36) return false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : !is_hex(text[i])) return false;
    }
    return true;
}

/// Six lower-case octets, neither a group address nor all zero.
bool is_unicast_mac(std::string_view text) {
    const auto octets = split(text, ':');
    if (octets.size() != 6 || text == "00:00:00:00:00:00") return false;
    if (!std::ranges::all_of(octets, [](const std::string& octet) { return all_hex(octet, 2); })) {
        return false;
    }
    return (std::stoi(octets[0], nullptr, 16) & 1) == 0;
}

/// IFNAMSIZ less one, and nothing that /sys or a command line would read in another way.
bool is_interface_name(std::string_view text) {
    return !text.empty() && text.size() <= 15 && text != "." && text != ".." &&
           std::ranges::all_of(text, [](char c) {
               return c > ' ' && c < 0x7f && c != '/' && c != ':' && c != ',';
           });
}

/// A file name in a directory of ours: one component, printable.
bool is_file_name(std::string_view text) {
    return !text.empty() && text.size() <= 255 && text.front() != '.' &&
           std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f && c != '/'; });
}

bool is_machine_type(std::string_view text, Arch arch) {
    const std::string_view prefix = arch == Arch::arm64 ? "virt-" : "pc-q35-";
    if (!text.starts_with(prefix) || text.size() == prefix.size()) return false;
    return std::ranges::all_of(text.substr(prefix.size()), [](char c) {
        return is_lower_alphanumeric(c) || c == '.' || c == '-';
    });
}

Result<> check_identity(const VmSpec& spec) {
    NOXSUP_TRY(check_vm_name(spec.name));
    if (!is_uuid(spec.uuid)) return wrong("uuid", spec.uuid, "is not a UUID");
    if (!all_hex(spec.id, 8)) return wrong("id", spec.id, "is not 8 hexadecimal digits");
    if (!is_machine_type(spec.machine, spec.arch)) {
        return wrong("machine", spec.machine,
                     "is not a versioned machine type of " + std::string(to_string(spec.arch)));
    }
    if (spec.accel == Accel::automatic)
        return wrong("accel", "auto", "is not resolved to kvm or tcg");
    const bool user_ok = !spec.user.empty() && spec.user.size() <= 32 &&
                         (is_lower_alphanumeric(spec.user.front()) || spec.user.front() == '_') &&
                         std::ranges::all_of(spec.user, [](char c) {
                             return is_lower_alphanumeric(c) || c == '_' || c == '-' || c == '.';
                         });
    if (!user_ok) return wrong("user", spec.user, "is not a user name");
    return {};
}

Result<> check_resources(const VmSpec& spec) {
    if (spec.cpus < 1 || spec.cpus > max_cpus) {
        return Error{ErrorCode::cpus_out_of_range, "cpus " + std::to_string(spec.cpus) +
                                                       " is not between 1 and " +
                                                       std::to_string(max_cpus)};
    }
    if (spec.memory_bytes < min_memory_bytes || spec.memory_bytes > max_memory_bytes) {
        return wrong_size("memory", spec.memory_bytes,
                          "is not between " + format_bytes(min_memory_bytes) + " and " +
                              format_bytes(max_memory_bytes));
    }
    if (spec.memory_bytes % mebibyte != 0) {
        return wrong_size("memory", spec.memory_bytes, "is not a whole number of MiB");
    }
    if (spec.disk.virtual_bytes < 512 || spec.disk.virtual_bytes > max_disk_bytes ||
        spec.disk.virtual_bytes % 512 != 0) {
        return wrong_size("disk", spec.disk.virtual_bytes,
                          "is not a multiple of 512 up to " + format_bytes(max_disk_bytes));
    }
    if (!spec.disk.base_file.empty() && !is_file_name(spec.disk.base_file)) {
        return wrong("disk base_file", spec.disk.base_file, "is not a plain file name");
    }
    if (!spec.disk.base_digest.empty() && !all_hex(spec.disk.base_digest, 64)) {
        return wrong("disk base_digest", spec.disk.base_digest, "is not 64 hexadecimal digits");
    }
    if (!spec.disk.base_file.empty() && spec.disk.format != ImageFormat::qcow2) {
        return wrong("disk format", to_string(spec.disk.format),
                     "cannot be an overlay over a base");
    }
    return {};
}

Result<> check_boot(const Boot& boot) {
    if (boot.mode == BootMode::firmware) {
        if (boot.firmware_code.empty()) return wrong("boot firmware_code", "", "is missing");
        if (!boot.kernel.empty())
            return wrong("boot kernel", boot.kernel, "is given in mode firmware");
    } else if (boot.kernel.empty()) {
        return wrong("boot kernel", "", "is missing");
    }
    if (boot.kernel.empty() && !boot.initrd.empty()) {
        return wrong("boot initrd", boot.initrd, "is given without a kernel");
    }
    // The kernel's COMMAND_LINE_SIZE is 2048 on both architectures; a NUL cannot pass through argv.
    if (boot.command_line.size() >= 2048 || boot.command_line.find('\0') != std::string::npos) {
        return wrong("boot command_line", boot.command_line.substr(0, 80),
                     "is longer than 2047 bytes or has a NUL");
    }
    return {};
}

bool is_ip_address(const std::string& text) {
    in6_addr address{};
    return ::inet_pton(AF_INET, text.c_str(), &address) == 1 ||
           ::inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

Result<> check_publish(const Publish& rule) {
    in_addr address{};
    if (::inet_pton(AF_INET, rule.host_address.c_str(), &address) != 1) {
        return wrong("publish address", rule.host_address, "is not an IPv4 address");
    }
    if (rule.host_port == 0 || rule.guest_port == 0)
        return wrong("publish port", "0", "is no port");
    return {};
}

Result<> check_network(const Network& network) {
    if (!is_unicast_mac(network.mac)) {
        return wrong("network mac", network.mac, "is not a unicast MAC address in lower case");
    }
    if (has_tap(network)) {
        if (!is_interface_name(network.bridge)) {
            return wrong("network bridge", network.bridge, "is not an interface name");
        }
        if (!is_interface_name(network.tap)) {
            return wrong("network tap", network.tap, "is not an interface name");
        }
    }
    if (network.mode == NetworkMode::macvtap && !network.publish.empty())
        return wrong("network mode", "macvtap", "has no published ports");
    const auto vlan = std::to_string(network.vlan);
    if (network.vlan > max_vlan) return wrong("network vlan", vlan, "is none");
    if (network.vlan != 0 && network.mode != NetworkMode::bridge)
        return wrong("network vlan", vlan, "needs a bridge");
    for (const auto& rule : network.publish) NOXSUP_TRY(check_publish(rule));
    for (const auto& address : network.fixed_addresses) {
        if (!is_ip_address(address))
            return wrong("network fixed_addresses", address, "is not an IP address");
    }
    return {};
}

/// No two cards in one place.
Result<> check_places(const std::vector<Network>& networks) {
    std::set<unsigned> slots, ports;
    for (const auto& network : networks) {
        const auto slot = std::to_string(network.slot);
        if (network.slot >= max_networks) return wrong("network slot", slot, "is none");
        if (!slots.insert(network.slot).second)
            return wrong("network slot", slot, "is that of two cards");
        if (!network.spare_port) continue;
        const auto port = std::to_string(*network.spare_port);
        if (*network.spare_port >= spare_ports) return wrong("network spare_port", port, "is none");
        if (!ports.insert(*network.spare_port).second)
            return wrong("network spare_port", port, "is that of two cards");
    }
    return {};
}

Result<> check_networks(const std::vector<Network>& networks) {
    if (networks.empty() || networks.size() > max_networks) {
        return wrong("networks", std::to_string(networks.size()),
                     "are not 1 to " + std::to_string(max_networks));
    }
    std::set<std::string_view> macs, taps;
    std::size_t behind_qemu = 0;
    for (const auto& network : networks) {
        NOXSUP_TRY(check_network(network));
        if (!macs.insert(network.mac).second)
            return wrong("network mac", network.mac, "is that of two cards");
        if (!has_tap(network)) {
            ++behind_qemu;
        } else if (!taps.insert(network.tap).second) {
            return wrong("network tap", network.tap, "is that of two cards");
        }
    }
    // QEMU gives each the same subnet, which a guest cannot tell apart.
    if (behind_qemu > 1) return wrong("network mode", "user", "is that of two cards");
    return check_places(networks);
}

}  // namespace

bool has_tap(const VmSpec& spec) {
    return std::ranges::any_of(spec.networks, [](const auto& network) { return has_tap(network); });
}

bool has_user_network(const VmSpec& spec) {
    return !std::ranges::all_of(spec.networks,
                                [](const auto& network) { return has_tap(network); });
}

bool is_reached_from_host(const VmSpec& spec) {
    return std::ranges::any_of(
        spec.networks, [](const auto& network) { return network.mode != NetworkMode::macvtap; });
}

std::string tap_id_of(std::string_view id, unsigned slot) {
    std::string tap(id);
    if (slot > 0) tap += std::to_string(slot);
    return tap;
}

Result<> check_vm_name(std::string_view name) {
    const bool ok =
        !name.empty() && name.size() <= 63 && name.front() != '-' && name.back() != '-' &&
        std::ranges::all_of(name, [](char c) { return is_lower_alphanumeric(c) || c == '-'; });
    if (ok) return {};
    return Error{ErrorCode::invalid_name, "\"" + escape_for_terminal(name) + "\" is not a VM name",
                 "use 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends"};
}

Result<> validate(const AutostartRule& rule) {
    if (rule.order > max_autostart_order) {
        return wrong("autostart order", std::to_string(rule.order),
                     "is beyond " + std::to_string(max_autostart_order));
    }
    if (rule.delay_seconds > max_autostart_delay_seconds) {
        return wrong("autostart delay_seconds", std::to_string(rule.delay_seconds),
                     "is beyond " + std::to_string(max_autostart_delay_seconds));
    }
    return {};
}

Result<> validate(const VmSpec& spec) {
    NOXSUP_TRY(check_identity(spec));
    NOXSUP_TRY(check_resources(spec));
    NOXSUP_TRY(check_boot(spec.boot));
    NOXSUP_TRY(validate(spec.autostart));
    return check_networks(spec.networks);
}

}  // namespace noxsup::spec
