// What this folder needs of libnl: an owned socket that keeps the kernel's own errno, and
// conversions.
#pragma once

#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/neighbour.h>

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "netbridge/kernel_network.hpp"

namespace noxsup::netbridge {

struct NlDelete {
    void operator()(nl_sock* p) const { nl_socket_free(p); }
    void operator()(nl_msg* p) const { nlmsg_free(p); }
    void operator()(nl_cache* p) const { nl_cache_free(p); }
    void operator()(rtnl_link* p) const { rtnl_link_put(p); }
    void operator()(rtnl_addr* p) const { rtnl_addr_put(p); }
    void operator()(nl_addr* p) const { nl_addr_put(p); }
};
template <class T>
using NlPtr = std::unique_ptr<T, NlDelete>;

/// A NETLINK_ROUTE socket. libnl maps the kernel's errno to its own, fewer, codes; this keeps it.
class NetlinkSocket {
  public:
    /// Errors: io_error.
    static Result<std::unique_ptr<NetlinkSocket>> open();

    NetlinkSocket() = default;
    NetlinkSocket(const NetlinkSocket&) = delete;
    NetlinkSocket& operator=(const NetlinkSocket&) = delete;

    [[nodiscard]] nl_sock* get() const { return socket_.get(); }

    /// Sends a request (taking it) and waits for the answer. Returns 0 or the errno.
    int request(NlPtr<nl_msg> message);
    /// The errno behind libnl's negative result `code`.
    [[nodiscard]] int errno_of(int code) const;
    /// Call before a libnl function that sends, so that errno_of() tells of it alone.
    void clear_error() { kernel_error_ = 0; }

  private:
    NlPtr<nl_sock> socket_;
    int kernel_error_ = 0;
};

/// The neighbour of an IPv4 or IPv6 entry with a link-layer address; nothing for others.
std::optional<Neighbour> to_neighbour(rtnl_neigh* entry);

/// The addresses of one device. Errors: io_error.
Result<std::vector<IpCidr>> dump_addresses(NetlinkSocket& socket, int link_index);

/// The IPv4 routes of all tables, as KernelNetwork::routes(). Errors: io_error.
Result<std::vector<Route>> dump_routes(NetlinkSocket& socket);

/// The whole table. Errors: io_error.
Result<std::vector<Neighbour>> dump_neighbours(NetlinkSocket& socket);

/// The six bytes of an Ethernet address; zeros for what is none.
MacAddress to_mac(const nl_addr* address);

}  // namespace noxsup::netbridge
