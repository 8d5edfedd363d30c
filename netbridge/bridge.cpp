#include "netbridge/bridge.hpp"

#include <charconv>

#include "supervisor/base/text.hpp"

namespace noxsup::netbridge {
namespace {

Error no_vlan(std::string_view text) {
    return {ErrorCode::invalid_argument, "\"" + escape_for_terminal(text) +
                                             "\" is no VLAN: they are numbered 1 to " +
                                             std::to_string(max_vlan)};
}

}  // namespace

Result<Link> can_use_bridge(KernelNetwork& kernel, const InterfaceName& name) {
    NOXSUP_TRY_VALUE(auto found, kernel.find_link(name));
    if (!found) {
        return Error{
            ErrorCode::host_lacks_bridge, "there is no bridge " + name.str() + " on this host",
            "make one of a network card: sudo noxsup network setup; or use --network user"};
    }
    if (found->kind != "bridge") {
        return Error{ErrorCode::host_lacks_bridge,
                     name.str() + " is a network device but no bridge",
                     "give the name of a bridge, or use --network user"};
    }
    if (!found->up) {
        return Error{ErrorCode::host_lacks_bridge, "the bridge " + name.str() + " is down",
                     "sudo ip link set " + name.str() + " up"};
    }
    auto rights = kernel.check_rights();
    if (!rights) return std::move(rights.error().context("bridge " + name.str()));
    return std::move(*found);
}

Result<std::uint16_t> parse_vlan(std::string_view text) {
    std::uint16_t vlan = 0;
    const auto* end = text.data() + text.size();
    const auto [stop, failure] = std::from_chars(text.data(), end, vlan);
    if (failure != std::errc() || stop != end || vlan == 0 || vlan > max_vlan) return no_vlan(text);
    return vlan;
}

Result<> can_use_vlan(KernelNetwork& kernel, const Link& bridge, unsigned vlan) {
    if (vlan == 0 || vlan > max_vlan) return no_vlan(std::to_string(vlan));
    NOXSUP_TRY_VALUE(const bool filters, kernel.filters_vlans(bridge));
    if (filters) return {};
    return Error{ErrorCode::host_lacks_bridge,
                 "the bridge " + bridge.name + " does not keep VLANs apart",
                 "sudo ip link set " + bridge.name +
                     " type bridge vlan_filtering 1 (its ports then pass the VLANs alone that they "
                     "are in, at first 1; see bridge vlan show)"};
}

}  // namespace noxsup::netbridge
