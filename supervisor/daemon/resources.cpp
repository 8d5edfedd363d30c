#include "supervisor/daemon/resources.hpp"

#include "supervisor/base/text.hpp"
#include "supervisor/spec/quantity.hpp"

namespace noxsup::daemon {

Result<unsigned> parse_host_cpus(const std::string& text, const launch::HostFacts& facts) {
    NOXSUP_TRY_VALUE(const auto amount, spec::parse_cpus(text, "--cpus"));
    const auto cpus = spec::resolve_cpus(amount, facts.cpus);
    if (cpus <= facts.cpus) return cpus;
    return Error{ErrorCode::cpus_out_of_range,
                 "--cpus " + text + ": this host has " + std::to_string(facts.cpus),
                 "ask for 1 to " + std::to_string(facts.cpus)};
}

Result<std::uint64_t> parse_host_memory(const std::string& text, const launch::HostFacts& facts) {
    NOXSUP_TRY_VALUE(const auto amount, spec::parse_size(text, spec::SizeUnit::mebibytes, "--ram"));
    const auto bytes =
        spec::resolve_size(amount, facts.memory_total_bytes) / spec::mebibyte * spec::mebibyte;
    if (bytes >= spec::min_memory_bytes) return bytes;
    return Error{ErrorCode::invalid_size, "--ram " + text + " is less than the " +
                                              format_bytes(spec::min_memory_bytes) +
                                              " a guest needs"};
}

Result<> check_guest_cpus(const spec::VmSpec& spec, const launch::HostFacts& facts) {
    const auto most = launch::max_cpus(spec, facts);
    if (spec.cpus <= most) return {};
    return Error{ErrorCode::cpus_out_of_range,
                 "--cpus " + std::to_string(spec.cpus) +
                     ": the interrupt controller of this host serves " + std::to_string(most) +
                     " in a guest",
                 "ask for 1 to " + std::to_string(most)};
}

}  // namespace noxsup::daemon
