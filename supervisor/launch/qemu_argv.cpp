#include "supervisor/launch/qemu_argv.hpp"

#include "supervisor/launch/device_table.hpp"
#include "supervisor/launch/guest_units.hpp"
#include "supervisor/launch/nic.hpp"

namespace noxsup::launch {
namespace {

using spec::Accel;
using spec::Arch;

/// Numbers of the fd sets; each holds one descriptor under a path that QEMU understands.
enum class FdSet { disk = 1, base = 2, seed = 3, firmware_code = 4, firmware_vars = 5 };

std::string fdset_path(FdSet set) {
    return "/dev/fdset/" + std::to_string(static_cast<int>(set));
}

/// Collects arguments; each function below adds one group of them.
class Arguments {
  public:
    explicit Arguments(std::string program) { list_.push_back(std::move(program)); }

    void flag(std::string option) { list_.push_back(std::move(option)); }
    void add(std::string option, std::string value) {
        list_.push_back(std::move(option));
        list_.push_back(std::move(value));
    }
    void add(std::string option, const Json& value) { add(std::move(option), dump_json(value)); }
    std::vector<std::string> take() { return std::move(list_); }

  private:
    std::vector<std::string> list_;
};

std::string machine_option(const spec::VmSpec& spec, const LaunchFds& fds) {
    auto text = spec.machine;
    if (spec.arch == Arch::arm64) {
        // Under TCG the newest GIC the guests know: version 2 stops at 8 CPUs.
        text += spec.accel == Accel::kvm ? ",gic-version=host" : ",gic-version=3";
    } else {
        text += ",smm=off,vmport=off,sata=off";
    }
    // The backend's name is part of a RAM state: a template's file takes this one's place later.
    text += ",usb=off,memory-backend=ram0,dump-guest-core=off,mem-merge=off";
    if (fds.firmware_code >= 0) text += ",pflash0=firmware-code";
    if (fds.firmware_vars >= 0) text += ",pflash1=firmware-vars";
    return text;
}

/// Memory of QEMU's own; or the file that becomes a template's RAM; or a template's, of which the
/// pages that the guest writes become its own. QEMU opens the file once more, by its descriptor's
/// name: since 8.2 for reading alone, before that for writing, which the file's seals forbid.
Json ram_backend(const spec::VmSpec& spec, const QemuBinary& qemu, const LaunchFds& fds) {
    Json json{{"qom-type", "memory-backend-ram"}, {"id", "ram0"}, {"size", spec.memory_bytes}};
    if (fds.ram < 0) return json;
    json["qom-type"] = "memory-backend-file";
    json["mem-path"] = "/proc/self/fd/" + std::to_string(fds.ram);
    json["share"] = fds.ram_shared;
    if (!fds.ram_shared && maps_ram_read_only(qemu)) {
        json["readonly"] = true;
        json["rom"] = "off";
    }
    return json;
}

void add_machine(Arguments& arguments, const spec::VmSpec& spec, const QemuBinary& qemu,
                 const LaunchFds& fds) {
    arguments.add("-name", "guest=" + escape_option(spec.name) + ",debug-threads=on");
    arguments.add("-uuid", spec.uuid);
    arguments.add("-machine", machine_option(spec, fds));
    arguments.add("-accel", std::string(spec::to_string(spec.accel)));
    arguments.add("-cpu", cpu_model(spec.arch, spec.accel));
    const auto cpus = std::to_string(spec.cpus);
    arguments.add("-smp",
                  "cpus=" + cpus + ",maxcpus=" + cpus + ",sockets=1,cores=" + cpus + ",threads=1");
    arguments.add("-m", std::to_string(spec.memory_bytes / spec::mebibyte) + "M");
    arguments.add("-object", ram_backend(spec, qemu, fds));
}

void add_confinement(Arguments& arguments) {
    arguments.flag("-nodefaults");
    arguments.flag("-no-user-config");
    arguments.add("-display", std::string("none"));
    arguments.add("-vga", std::string("none"));
    arguments.add(
        "-sandbox",
        std::string("on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"));
}

void add_behaviour(Arguments& arguments) {
    arguments.flag("-S");
    arguments.add("-msg", std::string("timestamp=on"));
    arguments.add("-rtc", std::string("base=utc"));
    arguments.add("-boot", std::string("menu=off,strict=on"));
    // A guest that panicked is kept as it is, for inspection, instead of QEMU's end or a busy CPU.
    arguments.add("-action", std::string("panic=pause"));
}

/// A listening socket of ours as a character device; QEMU takes one client at a time.
void add_socket(Arguments& arguments, const std::string& id, int fd) {
    arguments.add("-chardev",
                  "socket,id=" + id + ",fd=" + std::to_string(fd) + ",server=on,wait=off");
}

void add_sockets(Arguments& arguments, const LaunchFds& fds) {
    add_socket(arguments, "qmp", fds.qmp);
    arguments.add("-mon", std::string("chardev=qmp,mode=control"));
    add_socket(arguments, "console", fds.console);
    arguments.add("-serial", std::string("chardev:console"));
    add_socket(arguments, "agent", fds.agent);
    if (fds.guest_port >= 0) add_socket(arguments, "guest", fds.guest_port);
}

struct FileNode {
    std::string name;
    FdSet set;
    int fd;
    bool read_only;
};

/// The protocol layer: a file by descriptor. The host's page cache stays in use (cache.direct off):
/// VMs share the pages of their common base, and the guest's flushes still reach the medium.
void add_file_node(Arguments& arguments, const FileNode& node) {
    const auto set = std::to_string(static_cast<int>(node.set));
    arguments.add("-add-fd",
                  "fd=" + std::to_string(node.fd) + ",set=" + set + ",opaque=" + node.name);
    Json json{{"driver", "file"},
              {"node-name", node.name + "-file"},
              {"filename", fdset_path(node.set)},
              {"read-only", node.read_only}};
    if (!node.read_only) json["discard"] = "unmap";
    arguments.add("-blockdev", json);
}

void add_raw(Arguments& arguments, const FileNode& node) {
    if (node.fd < 0) return;
    add_file_node(arguments, node);
    arguments.add("-blockdev", Json{{"driver", "raw"},
                                    {"node-name", node.name},
                                    {"file", node.name + "-file"},
                                    {"read-only", node.read_only}});
}

/// An explicit format and an explicit end of the chain: what a file says of itself opens nothing.
Json format_node(const std::string& name, spec::ImageFormat format, bool read_only) {
    Json json{{"driver", spec::to_string(format)},
              {"node-name", name},
              {"file", name + "-file"},
              {"read-only", read_only}};
    if (format == spec::ImageFormat::qcow2) json["backing"] = nullptr;
    if (!read_only) json["discard"] = "unmap";
    return json;
}

void add_disks(Arguments& arguments, const spec::VmSpec& spec, const LaunchFds& fds) {
    if (fds.base >= 0) {
        add_file_node(arguments, {"base", FdSet::base, fds.base, true});
        arguments.add("-blockdev", format_node("base", spec.disk.base_format, true));
    }
    add_file_node(arguments, {"disk", FdSet::disk, fds.disk, false});
    auto disk = format_node("disk", spec.disk.format, false);
    if (fds.base >= 0) disk["backing"] = "base";
    arguments.add("-blockdev", disk);
    add_raw(arguments, {"seed", FdSet::seed, fds.seed, true});
    add_raw(arguments, {"firmware-code", FdSet::firmware_code, fds.firmware_code, true});
    add_raw(arguments, {"firmware-vars", FdSet::firmware_vars, fds.firmware_vars, false});
}

/// Each letter that a boot writes to the serial console stops the guest's processor for an exit to
/// QEMU: of a first boot in the target they were a fifth. Errors are still told there, and all of
/// it is in the guest's journal. What the guest's own boot menu or the vendor says of it holds.
std::string kernel_command_line(const spec::VmSpec& spec) {
    const auto& own = spec.boot.command_line;
    if (!spec::boots_directly(spec.boot) || spec.cloud_init.stock) return own;
    const auto words = " " + own + " ";
    for (const auto* said :
         {" quiet ", " debug ", " loglevel=", " ignore_loglevel ", " systemd.show_status="}) {
        if (words.find(said) != words.npos) return own;
    }
    return own + " loglevel=4 systemd.show_status=auto";
}

/// QEMU reads kernels with plain open(2), so fd sets are not for them; the descriptor's own name
/// is.
void add_kernel(Arguments& arguments, const spec::VmSpec& spec, const LaunchFds& fds) {
    if (fds.kernel < 0) return;
    arguments.add("-kernel", "/proc/self/fd/" + std::to_string(fds.kernel));
    if (fds.initrd >= 0) arguments.add("-initrd", "/proc/self/fd/" + std::to_string(fds.initrd));
    const auto command_line = kernel_command_line(spec);
    if (!command_line.empty()) arguments.add("-append", command_line);
}

}  // namespace

std::string escape_option(std::string_view text) {
    std::string escaped;
    for (const char c : text) {
        escaped += c;
        if (c == ',') escaped += c;
    }
    return escaped;
}

bool maps_ram_read_only(const QemuBinary& qemu) {
    return qemu.is_at_least(8, 2);
}

unsigned network_queues(const spec::VmSpec& spec, const spec::Network& network) {
    constexpr unsigned most = 8;
    return spec::has_tap(network) ? std::min(spec.cpus, most) : 1;
}

std::string cpu_model(Arch arch, Accel accel) {
    if (accel == Accel::kvm) return "host";
    // `max` has pointer authentication on arm64, which TCG computes dearly; 5-level page tables
    // cost on amd64.
    return arch == Arch::arm64 ? "cortex-a76" : "max,la57=off";
}

std::vector<std::string> build_qemu_argv(const spec::VmSpec& spec, const QemuBinary& qemu,
                                         const LaunchFds& fds, Ram ram) {
    Arguments arguments(qemu.path);
    add_machine(arguments, spec, qemu, fds);
    add_confinement(arguments);
    add_behaviour(arguments);
    if (ram == Ram::incoming) arguments.add("-incoming", std::string("defer"));
    add_sockets(arguments, fds);
    add_disks(arguments, spec, fds);
    add_kernel(arguments, spec, fds);
    for (const auto& credential : guest_credentials(spec))
        arguments.add("-smbios", smbios_option(credential));
    for (std::size_t i = 0; i < spec.networks.size(); ++i) {
        const auto nic = i < fds.nics.size() ? fds.nics[i] : NicFds();
        arguments.add("-netdev", netdev_option(spec.networks[i], nic));
    }
    // QEMU's own generator: no /dev/random to open.
    arguments.add("-object", Json{{"qom-type", "rng-builtin"}, {"id", "entropy0"}});
    const DeviceContext context{spec, fds};
    for (const auto& entry : device_table()) {
        if (entry.present(context)) arguments.add("-device", device_json(entry, context));
    }
    return arguments.take();
}

}  // namespace noxsup::launch
