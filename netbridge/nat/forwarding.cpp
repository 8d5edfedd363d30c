#include "netbridge/nat/forwarding.hpp"

#include <fcntl.h>

#include <algorithm>

#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::netbridge {
namespace {

bool is_on(const std::filesystem::path& path) {
    constexpr std::size_t limit = 64;
    const auto text = read_file(path, limit);
    return text && trim(*text) == "1";
}

std::filesystem::path knob(const std::string& device, const KernelViews& views) {
    return views.proc / "sys/net/ipv4/conf" / device / "forwarding";
}

}  // namespace

bool forwards_everywhere(const KernelViews& views) {
    return is_on(views.proc / "sys/net/ipv4/ip_forward");
}

bool forwards(const std::string& device, const KernelViews& views) {
    return is_on(knob(device, views));
}

Result<> set_forwarding(const std::string& device, bool on, const KernelViews& views) {
    const auto what = std::string("switch forwarding ") + (on ? "on" : "off") + " for " + device;
    const auto fix = [&](Error error) {
        error.code = ErrorCode::host_lacks_right;
        error.hint =
            "let noxsup write there, or say so yourself: sudo sysctl -w "
            "net.ipv4.ip_forward=1";
        return std::move(error.context(what));
    };
    auto file = open_file(knob(device, views), O_WRONLY);
    if (!file) return fix(std::move(file).error());
    auto written = write_all(file->get(), on ? "1\n" : "0\n", knob(device, views).string());
    if (!written) return fix(std::move(written).error());
    return {};
}

Result<std::vector<std::string>> answering_devices(KernelNetwork& kernel,
                                                   const InterfaceName& bridge) {
    NOXSUP_TRY_VALUE(const auto routes, kernel.routes());
    NOXSUP_TRY_VALUE(const auto links, kernel.links());
    std::vector<std::string> devices;
    for (const auto& link : links) {
        if (link.name == "lo" || link.name == bridge.str()) continue;
        const bool reached = std::ranges::any_of(
            routes, [&](const Route& route) { return route.link_index == link.index; });
        if (reached) devices.push_back(link.name);
    }
    std::ranges::sort(devices);
    return devices;
}

}  // namespace noxsup::netbridge
