#include "supervisor/launch/ram_state.hpp"

#include <algorithm>

#include "imaging/guest_identity.hpp"
#include "supervisor/launch/device_table.hpp"
#include "supervisor/launch/qemu_argv.hpp"

namespace noxsup::launch {
namespace {

/// "7.2" of "7.2.22".
std::string release_of(std::string_view version) {
    const auto major = version.find('.');
    if (major == std::string_view::npos) return std::string(version);
    return std::string(version.substr(0, version.find('.', major + 1)));
}

/// Of a digest, in a text for people; no two images of a home have the same ones.
constexpr std::size_t shown_digits = 16;

/// Which devices there are depends on which descriptors there are, not on their numbers.
LaunchFds any_fds(const spec::VmSpec& spec) {
    LaunchFds fds;
    fds.disk = 0;
    if (!spec.disk.base_file.empty()) fds.base = 0;
    if (spec.cloud_init.enabled) fds.seed = 0;
    if (!spec.boot.firmware_code.empty()) fds.firmware_code = fds.firmware_vars = 0;
    if (!spec.boot.kernel.empty()) fds.kernel = 0;
    fds.qmp = fds.console = fds.agent = 0;
    if (spec.boot.follow) fds.guest_port = 0;
    return fds;
}

}  // namespace

std::vector<std::string> ram_state_key(const spec::VmSpec& spec, std::string_view qemu_version) {
    std::vector<std::string> key{
        "QEMU " + release_of(qemu_version),
        "machine " + spec.machine,
        "accel " + std::string(spec::to_string(spec.accel)),
        "cpu " + cpu_model(spec.arch, spec.accel),
        "cpus " + std::to_string(spec.cpus),
        "memory " + std::to_string(spec.memory_bytes),
        "firmware " + spec.boot.firmware_code,
        "device table " + std::to_string(device_table_version),
    };
    const auto fds = any_fds(spec);
    const DeviceContext context{spec, fds};
    for (const auto& entry : device_table()) {
        if (entry.present(context))
            key.push_back("device " + dump_json(device_json(entry, context)));
    }
    return key;
}

std::vector<std::string> template_key(const spec::VmSpec& spec, std::string_view qemu_version) {
    std::vector<std::string> key{
        "image " + spec.image + " (" + spec.disk.base_digest.substr(0, shown_digits) + ")",
        "user " + spec.user,
        "disk " + std::to_string(spec.disk.virtual_bytes),
        "kernel " + spec.boot.source,
    };
    auto anyone = spec;
    anyone.warm_template = "any";
    for (auto& network : anyone.networks) {
        key.push_back("card " + std::to_string(network.slot) + " " +
                      (spec::has_tap(network) ? "with a TAP" : "in user mode"));
        network.mac = "any";
    }
    for (auto& line : ram_state_key(anyone, qemu_version)) key.push_back(std::move(line));
    key.push_back("identity " + std::to_string(imaging::identity_version));
    return key;
}

std::string ram_state_difference(const std::vector<std::string>& then,
                                 const std::vector<std::string>& now) {
    const auto [was, is] = std::ranges::mismatch(then, now);
    if (was == then.end() && is == now.end()) return {};
    const auto text = [](auto at, auto end) { return at == end ? std::string("nothing") : *at; };
    return "there was " + text(was, then.end()) + ", now there is " + text(is, now.end());
}

}  // namespace noxsup::launch
