#include "supervisor/launch/device_table.hpp"

#include <algorithm>
#include <array>

#include "supervisor/launch/guest_units.hpp"
#include "supervisor/launch/nic.hpp"

namespace noxsup::launch {
namespace {

bool always(const DeviceContext& /*context*/) {
    return true;
}
template <unsigned Slot>
bool with_nic(const DeviceContext& context) {
    return std::ranges::find(context.spec.networks, Slot, &spec::Network::slot) !=
           context.spec.networks.end();
}
bool with_seed(const DeviceContext& context) {
    return context.fds.seed >= 0;
}

bool with_guest_port(const DeviceContext& context) {
    return context.spec.boot.follow;
}

/// virtio devices speak the modern interface alone: no I/O ports, one code path.
Json virtio(const char* driver) {
    return {{"driver", driver}, {"disable-legacy", "on"}};
}

/// An empty slot for a device that is added while the VM runs: pcie.0 itself takes none.
template <int Index>
Json spare_port(const DeviceContext& /*context*/) {
    return {{"driver", "pcie-root-port"},
            {"chassis", Index + 1},
            {"port", Index},
            {"multifunction", true}};
}

template <unsigned Slot>
Json nic(const DeviceContext& context) {
    const auto& network = *std::ranges::find(context.spec.networks, Slot, &spec::Network::slot);
    auto json = virtio("virtio-net-pci");
    json["netdev"] = netdev_id(network);
    json["mac"] = network.mac;
    // No network boot, and no ROM file to open.
    json["romfile"] = "";
    const auto queues = network_queues(context.spec, network);
    if (queues > 1) {
        json["mq"] = true;
        // Two a queue, and those of the configuration and of the control queue.
        json["vectors"] = 2 * queues + 2;
    }
    // It came while the VM ran: it stays where the guest has found it.
    if (network.spare_port) {
        json["bus"] = "spare" + std::to_string(*network.spare_port);
        json["addr"] = "0.0";
    }
    return json;
}

Json disk(const DeviceContext& /*context*/) {
    auto json = virtio("virtio-blk-pci");
    json["drive"] = "disk";
    json["serial"] = "noxsup-disk";
    // 0 is the place QEMU gives a kernel that it loads itself.
    json["bootindex"] = 1;
    // A full or failing host disk pauses the VM; reported to the guest it would lose writes.
    json["werror"] = "stop";
    json["rerror"] = "stop";
    return json;
}

Json seed(const DeviceContext& /*context*/) {
    auto json = virtio("virtio-blk-pci");
    json["drive"] = "seed";
    json["serial"] = "noxsup-seed";
    return json;
}

Json serial_bus(const DeviceContext& /*context*/) {
    auto json = virtio("virtio-serial-pci");
    json["max_ports"] = 8;
    return json;
}

Json agent_port(const DeviceContext& /*context*/) {
    return {{"driver", "virtserialport"},
            {"bus", "serial0.0"},
            {"nr", 1},
            {"chardev", "agent"},
            {"name", "org.qemu.guest_agent.0"}};
}

Json guest_port(const DeviceContext& /*context*/) {
    return {{"driver", "virtserialport"},
            {"bus", "serial0.0"},
            {"nr", 2},
            {"chardev", "guest"},
            {"name", guest_port_name}};
}

Json rng(const DeviceContext& /*context*/) {
    auto json = virtio("virtio-rng-pci");
    json["rng"] = "entropy0";
    return json;
}

/// Free pages go back to the host by themselves. A template or a clone of one must not have
/// reporting: on a private mapping of the template's file QEMU would punch holes into that file.
Json balloon(const DeviceContext& context) {
    auto json = virtio("virtio-balloon-pci");
    json["deflate-on-oom"] = true;
    json["free-page-reporting"] = context.spec.warm_template.empty();
    return json;
}

Json panic(const DeviceContext& /*context*/) {
    return {{"driver", "pvpanic-pci"}};
}

// Slot 0 is the host bridge, 0x1f the LPC bridge of q35. QEMU reads the slots as hexadecimal.
constexpr std::array<DeviceEntry, 20> table{{
    {"spare0", "1.0", always, spare_port<0>}, {"spare1", "1.1", always, spare_port<1>},
    {"spare2", "1.2", always, spare_port<2>}, {"spare3", "1.3", always, spare_port<3>},
    {"nic0", "2.0", with_nic<0>, nic<0>},     {"disk0", "3.0", always, disk},
    {"seed0", "4.0", with_seed, seed},        {"serial0", "5.0", always, serial_bus},
    {"agent0", "", always, agent_port},       {"rng0", "6.0", always, rng},
    {"balloon0", "7.0", always, balloon},     {"panic0", "8.0", always, panic},
    {"nic1", "9.0", with_nic<1>, nic<1>},     {"nic2", "a.0", with_nic<2>, nic<2>},
    {"nic3", "b.0", with_nic<3>, nic<3>},     {"nic4", "c.0", with_nic<4>, nic<4>},
    {"nic5", "d.0", with_nic<5>, nic<5>},     {"nic6", "e.0", with_nic<6>, nic<6>},
    {"nic7", "f.0", with_nic<7>, nic<7>},     {"guest0", "", with_guest_port, guest_port},
}};

}  // namespace

static_assert(spec::spare_ports == 4 && spec::max_networks == 8, "the table has these many");

std::span<const DeviceEntry> device_table() {
    return table;
}

Json nic_json(const spec::VmSpec& spec, unsigned slot) {
    const LaunchFds none;
    const auto id = "nic" + std::to_string(slot);
    return device_json(*std::ranges::find(table, id, &DeviceEntry::id), {spec, none});
}

Json device_json(const DeviceEntry& entry, const DeviceContext& context) {
    auto json = entry.properties(context);
    json["id"] = entry.id;
    if (!entry.address.empty() && !json.contains("bus")) {
        json["bus"] = "pcie.0";
        json["addr"] = entry.address;
    }
    return json;
}

}  // namespace noxsup::launch
