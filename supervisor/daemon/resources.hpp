// CPUs and RAM as users ask for them, held against what the host has.
#pragma once

#include <cstdint>
#include <string>

#include "supervisor/launch/host_facts.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::daemon {

/// "2", "50%". Errors: cpus_out_of_range, also for more than the host has.
Result<unsigned> parse_host_cpus(const std::string& text, const launch::HostFacts& facts);
/// "512M", "25%"; in bytes, whole MiB. Errors: invalid_size, also for less than a guest needs.
Result<std::uint64_t> parse_host_memory(const std::string& text, const launch::HostFacts& facts);
/// What the interrupt controller that the spec's guest gets can serve. Errors: cpus_out_of_range.
Result<> check_guest_cpus(const spec::VmSpec& spec, const launch::HostFacts& facts);

}  // namespace noxsup::daemon
