// What a saved RAM state fits to: the machine as its guest sees it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::launch {

/// One property a line: QEMU's release, machine type, accelerator, CPU model and count, memory, and
/// every device with its address. Two equal keys: a RAM state saved by one QEMU can be loaded by
/// the other. QEMU's own promise for a versioned machine type reaches further, but the CPU models
/// `max` and `host` are the release's own.
/// @param qemu_version "7.2.22"; the last part, of bug fixes, does not count
std::vector<std::string> ram_state_key(const spec::VmSpec& spec, std::string_view qemu_version);

/// The same for a template: what a new VM must be to begin with its RAM. What is each VM's own (the
/// MAC addresses) is left out; the image that it was booted from, its user and the size of its disk
/// are in it.
std::vector<std::string> template_key(const spec::VmSpec& spec, std::string_view qemu_version);

/// The first property in which two keys differ: "there was QEMU 7.2, now there is QEMU 10.0"; empty
/// when they are equal.
std::string ram_state_difference(const std::vector<std::string>& then,
                                 const std::vector<std::string>& now);

}  // namespace noxsup::launch
