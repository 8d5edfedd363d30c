#include "netbridge/kernel_network.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <mutex>
#include <new>

#include "netbridge/link_request.hpp"
#include "netbridge/macvtap_device.hpp"
#include "netbridge/netlink.hpp"
#include "netbridge/nftables.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::netbridge {
namespace {

constexpr const char* tun_path = "/dev/net/tun";
constexpr const char* vhost_path = "/dev/vhost-net";

Error no_right(std::string_view what) {
    return {ErrorCode::host_lacks_right,
            std::string(what) + ": no right to change network devices (CAP_NET_ADMIN)",
            "run noxsup as root or through its system service, or use --network user"};
}

Error device_error(std::string_view what, int failure) {
    if (failure == EPERM || failure == EACCES) return no_right(what);
    return errno_error(what, failure);
}

Result<UniqueFd> open_tun() {
    UniqueFd fd(::open(tun_path, O_RDWR | O_CLOEXEC));
    if (fd) return fd;
    const int failure = errno;
    auto error = errno_error(std::string("open ") + tun_path, failure, ErrorCode::host_lacks_right);
    if (failure == ENOENT || failure == ENODEV || failure == ENXIO) {
        error.hint =
            "load the driver: sudo modprobe tun (in a container: pass /dev/net/tun into it)";
    } else {
        error.hint = "run noxsup as root or through its system service, or use --network user";
    }
    return error;
}

/// What is in sysfs only; empty when it is not there. The index is compared, since a process can be
/// in another network namespace than the one its /sys shows.
std::string sysfs_text(const Link& link, const char* attribute) {
    const auto directory = std::filesystem::path("/sys/class/net") / link.name;
    constexpr std::size_t limit = 4096;
    const auto index = read_file(directory / "ifindex", limit);
    const auto text = read_file(directory / attribute, limit);
    if (!index || !text || trim(*index) != std::to_string(link.index)) return {};
    return std::string(trim(*text));
}

bool has_fixed_mac(const Link& link) {
    constexpr std::string_view set_by_someone = "3";  // NET_ADDR_SET, linux/netdevice.h
    return sysfs_text(link, "addr_assign_type") == set_by_someone;
}

Link to_link(rtnl_link* entry) {
    Link link;
    const auto text = [](const char* value) { return value == nullptr ? "" : value; };
    link.index = rtnl_link_get_ifindex(entry);
    link.name = text(rtnl_link_get_name(entry));
    link.kind = text(rtnl_link_get_type(entry));
    link.mac = to_mac(rtnl_link_get_addr(entry));
    link.mtu = rtnl_link_get_mtu(entry);
    link.up = (rtnl_link_get_flags(entry) & IFF_UP) != 0;
    link.master = rtnl_link_get_master(entry);
    link.alias = text(rtnl_link_get_ifalias(entry));
    if (link.kind == "bridge") link.fixed_mac = has_fixed_mac(link);
    return link;
}

class NetlinkKernel final : public KernelNetwork {
  public:
    explicit NetlinkKernel(std::unique_ptr<NetlinkSocket> socket) : socket_(std::move(socket)) {}

    Result<std::vector<Link>> links() override;
    Result<std::optional<Link>> find_link(const InterfaceName& name) override;
    Result<std::vector<IpCidr>> addresses(const Link& link) override;
    Result<std::vector<Route>> routes() override;
    Result<std::vector<Neighbour>> neighbours() override;
    Result<> check_rights() override;
    Result<std::vector<UniqueFd>> create_tap(const InterfaceName& name, unsigned queues) override;
    UniqueFd open_vhost_net() override;
    Result<> create_macvtap(const InterfaceName& name, const Link& parent,
                            const MacAddress& mac) override;
    Result<std::vector<UniqueFd>> open_macvtap(const Link& link, unsigned queues) override {
        return open_macvtap_queues(link, queues);
    }
    bool is_macvtap_open(const Link& link) override { return is_held_by_a_process(link); }
    Result<> delete_link(const Link& link) override;
    Result<> create_bridge(const InterfaceName& name, const MacAddress& mac) override;
    Result<> add_address(const Link& link, const IpCidr& address) override;
    Result<> set_mac(const Link& link, const MacAddress& mac) override;
    Result<> set_mtu(const Link& link, std::uint32_t mtu) override;
    Result<> set_alias(const Link& link, const std::string& alias) override;
    Result<> disable_ipv6(const Link& link) override;
    Result<> enslave(const Link& link, const Link& bridge) override;
    Result<> guard_port(const Link& link) override;
    Result<> set_up(const Link& link, bool up) override;
    Result<bool> filters_vlans(const Link& bridge) override;
    Result<> set_port_vlan(const Link& port, std::uint16_t vlan) override;
    Result<> change_rules(const std::string& commands) override { return run_nft(commands); }
    Result<std::vector<std::string>> rule_tables() override { return list_bridge_tables(); }
    Result<std::vector<std::string>> ip_rule_tables() override { return list_ip_tables(); }
    Result<std::vector<FirewallChain>> firewall_chains(const InterfaceName& bridge) override {
        return list_firewall_chains(bridge.str());
    }
    Result<std::vector<RuleChain>> dropping_forward_chains() override {
        return list_dropping_forward_chains();
    }

  private:
    int send(LinkRequest& request) {
        const std::scoped_lock lock(mutex_);
        return socket_->request(request.take());
    }
    Result<> change(LinkRequest& request, const std::string& what) {
        if (const int failure = send(request); failure != 0) return device_error(what, failure);
        return {};
    }
    std::mutex mutex_;
    std::unique_ptr<NetlinkSocket> socket_;
};

Result<std::vector<Link>> NetlinkKernel::links() {
    const std::scoped_lock lock(mutex_);
    nl_cache* raw = nullptr;
    socket_->clear_error();
    if (const int code = rtnl_link_alloc_cache(socket_->get(), AF_UNSPEC, &raw); code < 0) {
        return errno_error("list network devices", socket_->errno_of(code));
    }
    const NlPtr<nl_cache> cache(raw);
    std::vector<Link> result;
    const auto collect = [](nl_object* object, void* target) {
        auto* entry = reinterpret_cast<rtnl_link*>(object);
        static_cast<std::vector<Link>*>(target)->push_back(to_link(entry));
    };
    nl_cache_foreach(cache.get(), collect, &result);
    return result;
}

Result<std::optional<Link>> NetlinkKernel::find_link(const InterfaceName& name) {
    const std::scoped_lock lock(mutex_);
    rtnl_link* raw = nullptr;
    socket_->clear_error();
    const int code = rtnl_link_get_kernel(socket_->get(), 0, name.str().c_str(), &raw);
    if (code < 0) {
        const int failure = socket_->errno_of(code);
        if (failure == ENODEV) return std::optional<Link>{};
        return errno_error("look up network device " + name.str(), failure);
    }
    const NlPtr<rtnl_link> entry(raw);
    return std::optional(to_link(entry.get()));
}

Result<std::vector<IpCidr>> NetlinkKernel::addresses(const Link& link) {
    const std::scoped_lock lock(mutex_);
    return dump_addresses(*socket_, link.index);
}

Result<std::vector<Route>> NetlinkKernel::routes() {
    const std::scoped_lock lock(mutex_);
    return dump_routes(*socket_);
}

Result<std::vector<Neighbour>> NetlinkKernel::neighbours() {
    const std::scoped_lock lock(mutex_);
    return dump_neighbours(*socket_);
}

Result<> NetlinkKernel::check_rights() {
    // The kernel checks the right before it looks for the device, and there is no device of this
    // index: EPERM or ENODEV, and nothing changes. It is exact in user namespaces too, where
    // capabilities lie.
    LinkRequest request(std::numeric_limits<int>::max());
    const int failure = send(request);
    if (failure == EPERM || failure == EACCES) return no_right("use a bridge");
    if (failure != ENODEV && failure != EINVAL) {
        return errno_error("ask for the right to change network devices", failure);
    }
    NOXSUP_TRY(open_tun());
    return {};
}

Result<std::vector<UniqueFd>> NetlinkKernel::create_tap(const InterfaceName& name,
                                                        unsigned queues) {
    const auto what = "make TAP " + name.str();
    ifreq request{};
    std::memcpy(request.ifr_name, name.str().c_str(), name.str().size() + 1);
    unsigned flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (queues > 1) flags |= IFF_MULTI_QUEUE;
    std::vector<UniqueFd> taps;
    while (taps.size() < queues) {
        auto tun = open_tun();
        if (!tun) return std::move(tun.error().context(what));
        // A persistent TAP of the name that someone left would be joined in silence else; the
        // further queues are to join.
        const unsigned exclusive = taps.empty() ? IFF_TUN_EXCL : 0;
        request.ifr_flags = static_cast<short>(flags | exclusive);
        if (::ioctl(tun->get(), TUNSETIFF, &request) != 0) {
            const int failure = errno;
            if (failure == EBUSY) {
                return Error{ErrorCode::already_exists, what + ": a network device has this name",
                             "ip -d link show " + name.str() + " tells what it is"};
            }
            return device_error(what, failure);
        }
        taps.push_back(std::move(*tun));
    }
    return taps;
}

UniqueFd NetlinkKernel::open_vhost_net() {
    return UniqueFd(::open(vhost_path, O_RDWR | O_CLOEXEC));
}

Result<> NetlinkKernel::create_bridge(const InterfaceName& name, const MacAddress& mac) {
    const auto what = "make the bridge " + name.str();
    const NlPtr<rtnl_link> wanted(rtnl_link_alloc());
    const NlPtr<nl_addr> address(nl_addr_build(AF_LLC, mac.bytes().data(), mac.bytes().size()));
    if (!wanted || !address || rtnl_link_set_type(wanted.get(), "bridge") < 0)
        throw std::bad_alloc();
    rtnl_link_set_name(wanted.get(), name.str().c_str());
    rtnl_link_set_addr(wanted.get(), address.get());
    const std::scoped_lock lock(mutex_);
    socket_->clear_error();
    const int code = rtnl_link_add(socket_->get(), wanted.get(), NLM_F_CREATE | NLM_F_EXCL);
    if (code >= 0) return {};
    const int failure = socket_->errno_of(code);
    if (failure == EEXIST) {
        return Error{ErrorCode::already_exists, what + ": a network device has this name",
                     "ip -d link show " + name.str() + " tells what it is"};
    }
    return device_error(what, failure);
}

Result<> NetlinkKernel::add_address(const Link& link, const IpCidr& address) {
    const auto bytes = address.address.to_v4().to_bytes();
    const NlPtr<rtnl_addr> wanted(rtnl_addr_alloc());
    const NlPtr<nl_addr> local(nl_addr_build(AF_INET, bytes.data(), bytes.size()));
    if (!wanted || !local) throw std::bad_alloc();
    nl_addr_set_prefixlen(local.get(), static_cast<int>(address.prefix_length));
    rtnl_addr_set_ifindex(wanted.get(), link.index);
    int code = rtnl_addr_set_local(wanted.get(), local.get());
    const std::scoped_lock lock(mutex_);
    socket_->clear_error();
    if (code >= 0) code = rtnl_addr_add(socket_->get(), wanted.get(), 0);
    if (code >= 0) return {};
    const int failure = socket_->errno_of(code);
    if (failure == EEXIST) return {};
    return device_error("give " + link.name + " the address " + address.to_string(), failure);
}

Result<> NetlinkKernel::set_mac(const Link& link, const MacAddress& mac) {
    LinkRequest request(link.index);
    request.add(IFLA_ADDRESS, mac.bytes().data(), mac.bytes().size());
    return change(request, "set MAC address " + mac.to_string() + " of " + link.name);
}

Result<> NetlinkKernel::set_mtu(const Link& link, std::uint32_t mtu) {
    LinkRequest request(link.index);
    request.add(IFLA_MTU, mtu);
    return change(request, "set MTU " + std::to_string(mtu) + " of " + link.name);
}

Result<> NetlinkKernel::set_alias(const Link& link, const std::string& alias) {
    LinkRequest request(link.index);
    request.add(IFLA_IFALIAS, alias.data(), alias.size());
    return change(request, "set the alias of " + link.name);
}

Result<> NetlinkKernel::disable_ipv6(const Link& link) {
    LinkRequest request(link.index);
    request.add_no_ipv6_address();
    const int failure = send(request);
    // A kernel without IPv6, or one where it is switched off for the device, is just what we want.
    if (failure == 0 || failure == EAFNOSUPPORT) return {};
    return device_error("keep IPv6 off " + link.name, failure);
}

Result<> NetlinkKernel::enslave(const Link& link, const Link& bridge) {
    LinkRequest request(link.index);
    request.add(IFLA_MASTER, static_cast<std::uint32_t>(bridge.index));
    return change(request, "make " + link.name + " a port of " + bridge.name);
}

Result<> NetlinkKernel::guard_port(const Link& link) {
    // The kernel changes what a device is to its master by RTM_NEWLINK alone.
    LinkRequest request(link.index, RTM_NEWLINK);
    request.add_bpdu_guard();
    return change(request, "guard the bridge against BPDUs of " + link.name);
}

Result<> NetlinkKernel::set_up(const Link& link, bool up) {
    ifinfomsg header{};
    header.ifi_index = link.index;
    header.ifi_change = IFF_UP;
    header.ifi_flags = up ? IFF_UP : 0;
    LinkRequest request(RTM_SETLINK, header);
    return change(request, (up ? "bring up " : "take down ") + link.name);
}

Result<> NetlinkKernel::create_macvtap(const InterfaceName& name, const Link& parent,
                                       const MacAddress& mac) {
    const auto what = "make macvtap " + name.str() + " on " + parent.name;
    ifinfomsg header{};
    // Else it hears only the groups that the host itself has joined on it: no IPv6 for the guest.
    header.ifi_flags = IFF_ALLMULTI;
    header.ifi_change = IFF_ALLMULTI;
    LinkRequest request(RTM_NEWLINK, header, NLM_F_CREATE | NLM_F_EXCL);
    request.add_text(IFLA_IFNAME, name.str());
    request.add(IFLA_LINK, static_cast<std::uint32_t>(parent.index));
    request.add(IFLA_ADDRESS, mac.bytes().data(), mac.bytes().size());
    request.add_macvtap_in_bridge_mode();
    const int failure = send(request);
    if (failure == EEXIST) {
        return Error{ErrorCode::already_exists, what + ": a network device has this name",
                     "ip -d link show " + name.str() + " tells what it is"};
    }
    if (failure == EOPNOTSUPP) {
        return Error{ErrorCode::host_lacks_tool, what + ": this kernel has no macvtap",
                     "sudo modprobe macvtap, or use --network bridge"};
    }
    if (failure != 0) return device_error(what, failure);
    return {};
}

Result<> NetlinkKernel::delete_link(const Link& link) {
    LinkRequest request(link.index, RTM_DELLINK);
    const int failure = send(request);
    if (failure == 0 || failure == ENODEV) return {};
    return device_error("remove " + link.name, failure);
}

Result<bool> NetlinkKernel::filters_vlans(const Link& bridge) {
    const auto told = sysfs_text(bridge, "bridge/vlan_filtering");
    if (told.empty()) {
        return Error{ErrorCode::host_lacks_bridge,
                     "this kernel's bridges know no VLANs (CONFIG_BRIDGE_VLAN_FILTERING)",
                     "leave --vlan out, or use a bridge that is in the VLAN as a whole"};
    }
    return told != "0";
}

Result<> NetlinkKernel::set_port_vlan(const Link& port, std::uint16_t vlan) {
    const auto what = "put " + port.name + " into VLAN " + std::to_string(vlan);
    ifinfomsg header{};
    header.ifi_family = AF_BRIDGE;
    header.ifi_index = port.index;
    LinkRequest join(RTM_SETLINK, header);
    join.add_vlans(vlan, vlan, BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED);
    NOXSUP_TRY(change(join, what));
    // All others: the bridge's default, whichever it is, was given to the port when it became one.
    const std::pair<unsigned, unsigned> others[] = {{1, vlan - 1U}, {vlan + 1U, max_vlan}};
    for (const auto& [first, last] : others) {
        if (first > last) continue;
        LinkRequest leave(RTM_DELLINK, header);
        leave.add_vlans(first, last, 0);
        NOXSUP_TRY(change(leave, what));
    }
    return {};
}

}  // namespace

Result<std::unique_ptr<KernelNetwork>> open_kernel_network() {
    NOXSUP_TRY_VALUE(auto socket, NetlinkSocket::open());
    return std::unique_ptr<KernelNetwork>(std::make_unique<NetlinkKernel>(std::move(socket)));
}

}  // namespace noxsup::netbridge
