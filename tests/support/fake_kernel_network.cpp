#include "tests/support/fake_kernel_network.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <stdexcept>

namespace noxsup::test {

using netbridge::InterfaceName;
using netbridge::Link;
using netbridge::MacAddress;
using netbridge::Neighbour;

int FakeKernelNetwork::add_link(Link link) {
    link.index = next_index_++;
    devices_.push_back({link});
    return link.index;
}

std::optional<Link> FakeKernelNetwork::link(const std::string& name) {
    settle();
    const auto found = std::ranges::find_if(
        devices_, [&](const Device& device) { return device.link.name == name; });
    return found == devices_.end() ? std::nullopt : std::optional(found->link);
}

std::size_t FakeKernelNetwork::link_count() {
    settle();
    return devices_.size();
}

bool FakeKernelNetwork::Device::is_held() const {
    if (!watch) return false;
    pollfd watched{watch.get(), POLLIN, 0};
    return ::poll(&watched, 1, 0) != 1 || (watched.revents & POLLHUP) == 0;
}

FakeKernelNetwork::Device* FakeKernelNetwork::device(const Link& link) {
    const auto found = std::ranges::find_if(
        devices_, [&](const Device& device) { return device.link.index == link.index; });
    return found == devices_.end() ? nullptr : &*found;
}

std::vector<UniqueFd> FakeKernelNetwork::open_queues(Device& device, unsigned queues) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
    device.watch = UniqueFd(ends[0]);
    std::vector<UniqueFd> taps;
    taps.emplace_back(ends[1]);
    while (taps.size() < queues) taps.emplace_back(::fcntl(ends[1], F_DUPFD_CLOEXEC, 0));
    return taps;
}

void FakeKernelNetwork::settle() {
    std::erase_if(devices_, [](const Device& device) {
        return device.link.kind == "tun" && device.watch && !device.is_held();
    });
    for (auto& bridge : devices_) {
        if (bridge.link.kind != "bridge") continue;
        std::optional<MacAddress> lowest;
        for (const auto& port : devices_) {
            if (port.link.master != bridge.link.index) continue;
            lowest = lowest ? std::min(*lowest, port.link.mac) : port.link.mac;
            bridge.link.mtu = std::min(bridge.link.mtu, port.link.mtu);
        }
        if (lowest && !bridge.link.fixed_mac) bridge.link.mac = *lowest;
    }
}

Result<> FakeKernelNetwork::step(std::string what) {
    settle();
    log_.push_back(std::move(what));
    if (++calls_ == fail_at_) return Error{ErrorCode::io_error, log_.back() + ": made to fail"};
    return {};
}

Result<> FakeKernelNetwork::change(const Link& link, std::string what,
                                   const std::function<void(Link&)>& apply) {
    NOXSUP_TRY(step(std::move(what)));
    auto* found = device(link);
    if (found == nullptr) return Error{ErrorCode::io_error, "no such device"};
    apply(found->link);
    settle();
    return {};
}

Result<std::vector<Link>> FakeKernelNetwork::links() {
    NOXSUP_TRY(step("links"));
    std::vector<Link> result;
    for (const auto& device : devices_) result.push_back(device.link);
    return result;
}

Result<std::optional<Link>> FakeKernelNetwork::find_link(const InterfaceName& name) {
    NOXSUP_TRY(step("find " + name.str()));
    return link(name.str());
}

Result<std::vector<netbridge::IpCidr>> FakeKernelNetwork::addresses(const Link& link) {
    auto all = own_addresses;
    for (const auto& device : devices_) {
        if (device.link.index != link.index) continue;
        all.insert(all.end(), device.addresses.begin(), device.addresses.end());
    }
    return all;
}

Result<std::vector<netbridge::Route>> FakeKernelNetwork::routes() {
    NOXSUP_TRY(step("routes"));
    return host_routes;
}

Result<std::vector<Neighbour>> FakeKernelNetwork::neighbours() {
    NOXSUP_TRY(step("neighbours"));
    return table;
}

Result<> FakeKernelNetwork::check_rights() {
    NOXSUP_TRY(step("check rights"));
    if (!has_rights) return Error{ErrorCode::host_lacks_right, "no right", "become root"};
    return {};
}

Result<std::vector<UniqueFd>> FakeKernelNetwork::create_tap(const InterfaceName& name,
                                                            unsigned queues) {
    NOXSUP_TRY(step("create " + name.str()));
    if (link(name.str())) return Error{ErrorCode::already_exists, name.str() + " exists"};
    constexpr std::uint32_t ethernet_mtu = 1500;
    Device device;
    device.link.index = next_index_++;
    device.link.name = name.str();
    device.link.kind = "tun";
    device.link.mac = MacAddress({0x02, 1, 2, 3, 4, 5});
    device.link.mtu = ethernet_mtu;
    auto taps = open_queues(device, queues);
    devices_.push_back(std::move(device));
    return taps;
}

Result<> FakeKernelNetwork::create_macvtap(const InterfaceName& name, const Link& parent,
                                           const MacAddress& mac) {
    NOXSUP_TRY(step("create " + name.str() + " on " + parent.name));
    if (link(name.str())) return Error{ErrorCode::already_exists, name.str() + " exists"};
    if (!has_macvtap) return Error{ErrorCode::host_lacks_tool, "no macvtap", "modprobe"};
    Link made;
    made.name = name.str();
    made.kind = "macvtap";
    made.mac = mac;
    made.mtu = parent.mtu;
    add_link(made);
    return {};
}

Result<std::vector<UniqueFd>> FakeKernelNetwork::open_macvtap(const Link& link, unsigned queues) {
    NOXSUP_TRY(step("open " + link.name));
    auto* found = device(link);
    if (found == nullptr) return Error{ErrorCode::io_error, "no such device"};
    if (missing_nodes > 0) {
        --missing_nodes;
        return Error{ErrorCode::wrong_state, "no node"};
    }
    return open_queues(*found, queues);
}

bool FakeKernelNetwork::is_macvtap_open(const Link& link) {
    const auto* found = device(link);
    return found != nullptr && found->is_held();
}

Result<> FakeKernelNetwork::delete_link(const Link& link) {
    NOXSUP_TRY(step("delete " + link.name));
    std::erase_if(devices_, [&](const Device& device) { return device.link.index == link.index; });
    return {};
}

Result<bool> FakeKernelNetwork::filters_vlans(const Link& bridge) {
    NOXSUP_TRY(step("vlans of " + bridge.name));
    if (!vlan_filtering) return Error{ErrorCode::host_lacks_bridge, "no VLANs", "another kernel"};
    return *vlan_filtering;
}

Result<> FakeKernelNetwork::set_port_vlan(const Link& port, std::uint16_t vlan) {
    return change(port, "vlan " + port.name, [&](Link& device) { vlans[device.name] = vlan; });
}

UniqueFd FakeKernelNetwork::open_vhost_net() {
    return UniqueFd(has_vhost ? ::open("/dev/null", O_RDWR | O_CLOEXEC) : -1);
}

Result<> FakeKernelNetwork::create_bridge(const InterfaceName& name, const MacAddress& mac) {
    NOXSUP_TRY(step("bridge " + name.str()));
    if (link(name.str())) return Error{ErrorCode::already_exists, name.str() + " exists"};
    Link made;
    made.name = name.str();
    made.kind = "bridge";
    made.mac = mac;
    made.mtu = 1500;
    made.fixed_mac = true;
    add_link(made);
    return {};
}

Result<> FakeKernelNetwork::add_address(const Link& link, const netbridge::IpCidr& address) {
    NOXSUP_TRY(step("address " + link.name + " " + address.to_string()));
    for (auto& device : devices_) {
        if (device.link.index == link.index) device.addresses.push_back(address);
    }
    return {};
}

Result<> FakeKernelNetwork::set_mac(const Link& link, const MacAddress& mac) {
    return change(link, "mac " + link.name, [&](Link& device) {
        device.mac = mac;
        device.fixed_mac = true;
    });
}

Result<> FakeKernelNetwork::set_mtu(const Link& link, std::uint32_t mtu) {
    return change(link, "mtu " + link.name, [&](Link& device) { device.mtu = mtu; });
}

Result<> FakeKernelNetwork::set_alias(const Link& link, const std::string& alias) {
    return change(link, "alias " + link.name, [&](Link& device) { device.alias = alias; });
}

Result<> FakeKernelNetwork::disable_ipv6(const Link& link) {
    return change(link, "no ipv6 " + link.name, [](Link& /*device*/) {});
}

Result<> FakeKernelNetwork::enslave(const Link& link, const Link& bridge) {
    return change(link, "enslave " + link.name + " " + bridge.name,
                  [&](Link& device) { device.master = bridge.index; });
}

Result<> FakeKernelNetwork::guard_port(const Link& link) {
    return change(link, "guard " + link.name, [](Link& /*device*/) {});
}

Result<> FakeKernelNetwork::set_up(const Link& link, bool up) {
    return change(link, (up ? "up " : "down ") + link.name, [&](Link& device) { device.up = up; });
}

Result<> FakeKernelNetwork::change_rules(const std::string& commands) {
    const auto name_after = [&](std::string_view words) {
        const auto at = commands.find(words);
        if (at == std::string::npos) return std::string();
        const auto begin = at + words.size();
        return commands.substr(begin, commands.find_first_of(" \n", begin) - begin);
    };
    const std::string family = commands.starts_with("add table ip ") ? "ip" : "bridge";
    const auto name = name_after("\ntable " + family + " ");
    const auto removed = name_after("delete table " + family + " ");
    NOXSUP_TRY(step((name.empty() ? "unfilter " : "filter ") + removed));
    if (!has_nftables) return Error{ErrorCode::host_lacks_tool, "no nf_tables", "another kernel"};
    auto& tables = family == "ip" ? ip_rules : rules;
    tables.erase(removed);
    if (!name.empty()) tables[name] = commands;
    return {};
}

Result<std::vector<std::string>> FakeKernelNetwork::ip_rule_tables() {
    NOXSUP_TRY(step("ip tables"));
    std::vector<std::string> names;
    for (const auto& [name, commands] : ip_rules) names.push_back(name);
    return names;
}

Result<std::vector<std::string>> FakeKernelNetwork::rule_tables() {
    NOXSUP_TRY(step("tables"));
    std::vector<std::string> names;
    for (const auto& [name, commands] : rules) names.push_back(name);
    return names;
}

}  // namespace noxsup::test
