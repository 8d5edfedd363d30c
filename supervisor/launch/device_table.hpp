// The one table of PCI devices: each has an address of its own that never changes, present or not.
#pragma once

#include <span>
#include <string_view>

#include "supervisor/base/json.hpp"
#include "supervisor/launch/qemu_argv.hpp"

namespace noxsup::launch {

/// Part of the key of saved RAM states: raise it when an entry changes in a way the guest can see.
inline constexpr unsigned device_table_version = 1;

/// What the entries choose by.
struct DeviceContext {
    const spec::VmSpec& spec;
    const LaunchFds& fds;
};

/// One device. To add one: an entry here, its backend in qemu_argv.cpp, the golden files.
struct DeviceEntry {
    std::string_view id;
    std::string_view
        address;  ///< "SLOT.FUNCTION" on pcie.0, unless `properties` name another bus; or empty
    bool (*present)(const DeviceContext&);
    Json (*properties)(const DeviceContext&);  ///< driver and properties but for id, bus and addr
};

std::span<const DeviceEntry> device_table();

/// The value of one -device option, which device_add takes as well.
Json device_json(const DeviceEntry& entry, const DeviceContext& context);

/// The same for the network card in a slot. @pre the spec has one there
Json nic_json(const spec::VmSpec& spec, unsigned slot);

}  // namespace noxsup::launch
