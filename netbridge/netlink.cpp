#include "netbridge/netlink.hpp"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/addr.h>
#include <netlink/cache.h>
#include <netlink/errno.h>
#include <netlink/route/addr.h>
#include <netlink/route/route.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

namespace noxsup::netbridge {
namespace {

std::optional<IpAddress> to_ip(const nl_addr* address) {
    const auto* bytes = static_cast<const unsigned char*>(nl_addr_get_binary_addr(address));
    if (nl_addr_get_family(address) == AF_INET) {
        Ipv4Address::bytes_type v4{};
        if (nl_addr_get_len(address) != v4.size()) return std::nullopt;
        std::copy_n(bytes, v4.size(), v4.begin());
        return IpAddress(Ipv4Address(v4));
    }
    if (nl_addr_get_family(address) == AF_INET6) {
        boost::asio::ip::address_v6::bytes_type v6{};
        if (nl_addr_get_len(address) != v6.size()) return std::nullopt;
        std::copy_n(bytes, v6.size(), v6.begin());
        return IpAddress(boost::asio::ip::address_v6(v6));
    }
    return std::nullopt;
}

/// Those of a route, one a next hop; none of what leads to the host itself.
void add_routes(rtnl_route* entry, std::vector<Route>& into) {
    const auto type = rtnl_route_get_type(entry);
    if (type == RTN_LOCAL || type == RTN_BROADCAST || type == RTN_ANYCAST || type == RTN_MULTICAST)
        return;
    Route route;
    auto* destination = rtnl_route_get_dst(entry);
    if (destination == nullptr) return;
    route.destination.prefix_length = nl_addr_get_prefixlen(destination);
    // That of a default route has no bytes.
    route.destination.address = to_ip(destination).value_or(Ipv4Address());
    const int hops = rtnl_route_get_nnexthops(entry);
    for (int i = 0; i < hops; ++i) {
        route.link_index = rtnl_route_nh_get_ifindex(rtnl_route_nexthop_n(entry, i));
        into.push_back(route);
    }
    if (hops == 0) into.push_back(route);
}

NeighbourState state_of(int state) {
    if (state < 0) return NeighbourState::failed;
    if ((state & (NUD_REACHABLE | NUD_PERMANENT)) != 0) return NeighbourState::confirmed;
    if ((state & (NUD_STALE | NUD_DELAY | NUD_PROBE)) != 0) return NeighbourState::remembered;
    return NeighbourState::failed;
}

}  // namespace

Result<std::unique_ptr<NetlinkSocket>> NetlinkSocket::open() {
    auto result = std::make_unique<NetlinkSocket>();
    result->socket_.reset(nl_socket_alloc());
    if (!result->socket_) throw std::bad_alloc();
    const auto keep_errno = [](sockaddr_nl*, nlmsgerr* failure, void* target) -> int {
        *static_cast<int*>(target) = -failure->error;
        return NL_STOP;
    };
    nl_socket_modify_err_cb(result->get(), NL_CB_CUSTOM, keep_errno, &result->kernel_error_);
    if (const int code = nl_connect(result->get(), NETLINK_ROUTE); code < 0) {
        return errno_error("open a netlink socket", result->errno_of(code));
    }
    return result;
}

int NetlinkSocket::request(NlPtr<nl_msg> message) {
    clear_error();
    // nl_send_sync frees the message in every case.
    const int code = nl_send_sync(get(), message.release());
    return code < 0 ? errno_of(code) : 0;
}

int NetlinkSocket::errno_of(int code) const {
    if (kernel_error_ != 0) return kernel_error_;
    switch (-code) {
        case NLE_PERM:
            return EPERM;
        case NLE_NOACCESS:
            return EACCES;
        case NLE_NODEV:
        case NLE_OBJ_NOTFOUND:
            return ENODEV;
        case NLE_NOMEM:
            return ENOMEM;
        case NLE_BUSY:
            return EBUSY;
        case NLE_EXIST:
            return EEXIST;
        case NLE_AGAIN:
            return EAGAIN;
        case NLE_INVAL:
            return EINVAL;
        default:
            return EIO;
    }
}

MacAddress to_mac(const nl_addr* address) {
    MacAddress::Bytes bytes{};
    if (address != nullptr && nl_addr_get_len(address) == bytes.size()) {
        std::memcpy(bytes.data(), nl_addr_get_binary_addr(address), bytes.size());
    }
    return MacAddress(bytes);
}

std::optional<Neighbour> to_neighbour(rtnl_neigh* entry) {
    // AF_BRIDGE entries are a bridge's forwarding table, which has no IP addresses.
    const auto* destination = rtnl_neigh_get_dst(entry);
    const auto* link_layer = rtnl_neigh_get_lladdr(entry);
    if (destination == nullptr || link_layer == nullptr) return std::nullopt;
    const auto address = to_ip(destination);
    Neighbour neighbour;
    neighbour.mac = to_mac(link_layer);
    if (!address || neighbour.mac.is_zero()) return std::nullopt;
    neighbour.link_index = rtnl_neigh_get_ifindex(entry);
    neighbour.address = *address;
    neighbour.state = state_of(rtnl_neigh_get_state(entry));
    return neighbour;
}

Result<std::vector<Neighbour>> dump_neighbours(NetlinkSocket& socket) {
    nl_cache* raw = nullptr;
    socket.clear_error();
    if (const int code = rtnl_neigh_alloc_cache(socket.get(), &raw); code < 0) {
        return errno_error("read the neighbour table", socket.errno_of(code));
    }
    const NlPtr<nl_cache> cache(raw);
    std::vector<Neighbour> result;
    const auto collect = [](nl_object* object, void* target) {
        // The cache holds objects of this one type only.
        auto neighbour = to_neighbour(reinterpret_cast<rtnl_neigh*>(object));
        if (neighbour) static_cast<std::vector<Neighbour>*>(target)->push_back(*neighbour);
    };
    nl_cache_foreach(cache.get(), collect, &result);
    return result;
}

Result<std::vector<Route>> dump_routes(NetlinkSocket& socket) {
    nl_cache* raw = nullptr;
    socket.clear_error();
    if (const int code = rtnl_route_alloc_cache(socket.get(), AF_INET, 0, &raw); code < 0) {
        return errno_error("read the routes", socket.errno_of(code));
    }
    const NlPtr<nl_cache> cache(raw);
    std::vector<Route> result;
    const auto collect = [](nl_object* object, void* target) {
        auto* entry = reinterpret_cast<rtnl_route*>(object);
        add_routes(entry, *static_cast<std::vector<Route>*>(target));
    };
    nl_cache_foreach(cache.get(), collect, &result);
    return result;
}

Result<std::vector<IpCidr>> dump_addresses(NetlinkSocket& socket, int link_index) {
    nl_cache* raw = nullptr;
    socket.clear_error();
    if (const int code = rtnl_addr_alloc_cache(socket.get(), &raw); code < 0) {
        return errno_error("list addresses", socket.errno_of(code));
    }
    const NlPtr<nl_cache> cache(raw);
    struct Wanted {
        int link_index;
        std::vector<IpCidr> found;
    } wanted{link_index, {}};
    const auto collect = [](nl_object* object, void* target) {
        auto* entry = reinterpret_cast<rtnl_addr*>(object);
        auto& result = *static_cast<Wanted*>(target);
        const auto* local = rtnl_addr_get_local(entry);
        if (rtnl_addr_get_ifindex(entry) != result.link_index || local == nullptr) return;
        if (const auto address = to_ip(local)) {
            const auto length = static_cast<unsigned>(rtnl_addr_get_prefixlen(entry));
            result.found.push_back({*address, length});
        }
    };
    nl_cache_foreach(cache.get(), collect, &wanted);
    return std::move(wanted.found);
}

}  // namespace noxsup::netbridge
