// The QEMU command line of a VM: a pure function from its spec, the program and descriptor numbers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "supervisor/launch/host_facts.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::launch {

/// The descriptors of one network card's TAP. Borrowed; none behind user-mode networking.
struct NicFds {
    std::vector<int> taps;    ///< one a queue
    std::vector<int> vhosts;  ///< /dev/vhost-net, as many; none: the packets go through QEMU
};

/// Numbers of the descriptors QEMU inherits; -1 where the VM has none. Borrowed.
struct LaunchFds {
    int disk = -1;           ///< the VM's own disk, read-write
    int base = -1;           ///< its base image, read-only
    int seed = -1;           ///< the NoCloud ISO, read-only
    int firmware_code = -1;  ///< read-only
    int firmware_vars = -1;  ///< the VM's own copy, read-write
    int kernel = -1;         ///< read-only
    int initrd = -1;         ///< read-only
    int qmp = -1;            ///< listening UNIX sockets
    int console = -1;
    int agent = -1;
    int guest_port = -1;       ///< only where the boot follows the guest's disk
    int ram = -1;              ///< a file of the size of the RAM, see RamFile
    bool ram_shared = false;   ///< RamFile::shared
    std::vector<NicFds> nics;  ///< in the order of the spec's networks; user mode needs none
};

/// Where a starting machine's RAM comes from: a boot fills it, or `migrate-incoming` will.
enum class Ram { fresh, incoming };

/// argv[0] is the program's path. The machine starts paused (-S); `cont` runs it.
/// @pre spec is valid, and every descriptor its boot and network modes need is there
std::vector<std::string> build_qemu_argv(const spec::VmSpec& spec, const QemuBinary& qemu,
                                         const LaunchFds& fds, Ram ram = Ram::fresh);

/// Whether this QEMU maps a RAM file that it may only read (rom=off, qom.json since 8.2); an older
/// one wants to write to it, so that it gets one in memory whose seals let nobody.
bool maps_ram_read_only(const QemuBinary& qemu);

/// How many queues a card with a TAP has: one a CPU, which lets each send on its own; else 1.
unsigned network_queues(const spec::VmSpec& spec, const spec::Network& network);

/// The CPU model as QEMU spells it; part of the key of saved RAM states.
std::string cpu_model(spec::Arch arch, spec::Accel accel);

/// Text made safe inside a comma-separated option: QEMU reads two commas as one that does not
/// separate.
std::string escape_option(std::string_view text);

}  // namespace noxsup::launch
