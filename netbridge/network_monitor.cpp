#include "netbridge/network_monitor.hpp"

#include <linux/rtnetlink.h>
#include <netlink/errno.h>

#include <cerrno>
#include <new>

#include "netbridge/netlink.hpp"

namespace noxsup::netbridge {
namespace {

void add_neighbour(nl_object* object, void* target) {
    auto neighbour = to_neighbour(reinterpret_cast<rtnl_neigh*>(object));
    if (neighbour) static_cast<NetworkChanges*>(target)->neighbours.push_back(*neighbour);
}

int on_message(nl_msg* message, void* target) {
    auto* header = nlmsg_hdr(message);
    if (header->nlmsg_type == RTM_NEWNEIGH) nl_msg_parse(message, add_neighbour, target);
    if (header->nlmsg_type == RTM_DELLINK && nlmsg_valid_hdr(header, sizeof(ifinfomsg)) != 0) {
        const auto* link = static_cast<const ifinfomsg*>(nlmsg_data(header));
        // The same message of family AF_BRIDGE tells that a port has left its bridge.
        if (link->ifi_family == AF_UNSPEC) {
            static_cast<NetworkChanges*>(target)->removed_links.push_back(link->ifi_index);
        }
    }
    return NL_OK;
}

}  // namespace

struct NetworkMonitor::Impl {
    std::unique_ptr<NetlinkSocket> socket;
    NetworkChanges changes;  ///< filled by the callback
};

NetworkMonitor::NetworkMonitor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NetworkMonitor::~NetworkMonitor() = default;

Result<std::unique_ptr<NetworkMonitor>> NetworkMonitor::open() {
    auto impl = std::make_unique<Impl>();
    NOXSUP_TRY_VALUE(impl->socket, NetlinkSocket::open());
    auto* socket = impl->socket->get();
    nl_socket_disable_seq_check(socket);
    nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, on_message, &impl->changes);
    int code = nl_socket_add_memberships(socket, RTNLGRP_NEIGH, RTNLGRP_LINK, 0);
    if (code == 0) code = nl_socket_set_nonblocking(socket);
    if (code < 0)
        return errno_error("follow the kernel's network news", impl->socket->errno_of(code));
    return std::unique_ptr<NetworkMonitor>(new NetworkMonitor(std::move(impl)));
}

int NetworkMonitor::fd() const {
    return nl_socket_get_fd(impl_->socket->get());
}

Result<NetworkChanges> NetworkMonitor::drain() {
    impl_->changes = {};
    for (;;) {
        const int code = nl_recvmsgs_default(impl_->socket->get());
        if (code == -NLE_AGAIN) break;
        if (code == -NLE_NOMEM) {
            // ENOBUFS: messages are lost, so only the table itself tells.
            impl_->changes.missed = true;
        } else if (code < 0) {
            return errno_error("read the kernel's network news", impl_->socket->errno_of(code));
        }
    }
    auto changes = std::move(impl_->changes);
    if (changes.missed) {
        NOXSUP_TRY_VALUE(changes.neighbours, table());
    }
    return changes;
}

Result<std::vector<Neighbour>> NetworkMonitor::table() {
    NOXSUP_TRY_VALUE(const auto socket, NetlinkSocket::open());
    return dump_neighbours(*socket);
}

}  // namespace noxsup::netbridge
