#include "netbridge/bridge.hpp"

namespace noxsup::netbridge {

Result<Link> can_use_bridge(KernelNetwork& kernel, const InterfaceName& name) {
    NOXSUP_TRY_VALUE(auto found, kernel.find_link(name));
    if (!found) {
        return Error{ErrorCode::host_lacks_bridge,
                     "there is no bridge " + name.str() + " on this host",
                     "make one with your network configuration, or use --network user"};
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

}  // namespace noxsup::netbridge
