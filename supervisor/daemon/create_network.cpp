// The network cards of a VM that is made: what each is connected to, under which addresses.

#include "netbridge/address_probe.hpp"
#include "netbridge/bridge.hpp"
#include "netbridge/mac_address.hpp"
#include "netbridge/macvtap_lease.hpp"
#include "netbridge/ports.hpp"
#include "netbridge/tap_lease.hpp"
#include "supervisor/daemon/create.hpp"
#include "supervisor/vm/publish_spec.hpp"

namespace noxsup::daemon {
namespace {

constexpr const char* usual_bridge = "br0";

/// A taken port is told now, before an image is fetched; launch checks again.
Result<> check_ports(const std::vector<spec::Publish>& publish) {
    for (const auto& rule : publish) {
        NOXSUP_TRY_VALUE(const auto wanted, vm::publish_spec(rule));
        NOXSUP_TRY(netbridge::reserve_port(wanted));
    }
    return {};
}

std::string without_prefix(const std::string& cidr) {
    return cidr.substr(0, cidr.find('/'));
}

}  // namespace

boost::asio::awaitable<Result<>> Creation::choose_networks() {
    for (std::size_t i = 0; i < request_.networks.size(); ++i) {
        const auto& wish = request_.networks[i];
        NOXSUP_CO_TRY_VALUE(auto network, choose_network(wish, i));
        if (network.mode == spec::NetworkMode::macvtap) {
            note("over the macvtap on " + network.bridge +
                 " this host and the VM do not reach each other; the LAN's other hosts do, and "
                 "nothing checks what the VM sends");
        }
        spec_.networks.push_back(std::move(network));
        if (!wish.address) continue;
        auto checking = check_fixed_address(*wish.address, spec_.networks.back());
        NOXSUP_CO_TRY(co_await std::move(checking));
    }
    co_return Result<>();
}

Result<std::string> Creation::choose_mac(const std::string& wanted) const {
    const auto is_taken = [this](const std::string& mac) {
        return services_.registry.has_mac(mac) ||
               std::ranges::find(spec_.networks, mac, &spec::Network::mac) != spec_.networks.end();
    };
    if (!wanted.empty()) {
        if (!is_taken(wanted)) return wanted;
        return Error{ErrorCode::mac_taken, "another VM has the MAC address " + wanted};
    }
    for (;;) {
        auto mac = netbridge::random_guest_mac().to_string();
        if (!is_taken(mac)) return mac;
    }
}

Result<spec::Network> Creation::choose_network(const NetworkWish& wish, std::size_t index) const {
    spec::Network network;
    NOXSUP_TRY_VALUE(network.mac, choose_mac(wish.mac));
    if (wish.mode == spec::NetworkMode::macvtap) return choose_macvtap(wish, index, network);
    const auto bridge = wish.bridge.empty() ? std::string(usual_bridge) : wish.bridge;
    bool bridged = wish.mode == spec::NetworkMode::bridge;
    // A published port is a wish for user-mode networking.
    if (bridged || (!wish.mode && wish.publish.empty())) {
        NOXSUP_TRY_VALUE(const auto name, netbridge::InterfaceName::parse(bridge));
        const auto usable = netbridge::can_use_bridge(*services_.kernel, name);
        // What only a bridge gives was asked for.
        const bool needs_one = bridged || wish.address || wish.isolated || wish.allow_spoofing ||
                               wish.rate != 0 || wish.vlan != 0;
        if (!usable && needs_one) return usable.error();
        bridged = usable.has_value();
        if (bridged && wish.vlan != 0)
            NOXSUP_TRY(netbridge::can_use_vlan(*services_.kernel, *usable, wish.vlan));
    }
    network.publish = wish.publish;
    NOXSUP_TRY(check_ports(network.publish));
    if (bridged) {
        NOXSUP_TRY_VALUE(const auto tap, netbridge::tap_name(spec::tap_id_of(spec_.id, index)));
        network.mode = spec::NetworkMode::bridge;
        network.bridge = bridge;
        network.tap = tap.str();
        network.allow_spoofing = wish.allow_spoofing;
        network.isolated = wish.isolated;
        network.rate = wish.rate;
        network.vlan = wish.vlan;
        if (wish.address) network.fixed_addresses = {without_prefix(wish.address->cidr)};
        return network;
    }
    if (wish.mode == spec::NetworkMode::nat) {
        NOXSUP_TRY(services_.nat.available());
        NOXSUP_TRY_VALUE(const auto tap, netbridge::tap_name(spec::tap_id_of(spec_.id, index)));
        network.mode = spec::NetworkMode::nat;
        network.bridge = netbridge::nat_bridge_name;
        network.tap = tap.str();
        network.allow_spoofing = wish.allow_spoofing;
        network.isolated = wish.isolated;
        network.rate = wish.rate;
        network.publish = wish.publish;
        NOXSUP_TRY(check_ports(network.publish));
        return network;
    }
    network.mode = spec::NetworkMode::user;
    network.restricted = services_.config.restrict_user_network;
    return network;
}

Result<spec::Network> Creation::choose_macvtap(const NetworkWish& wish, std::size_t index,
                                               spec::Network network) const {
    NOXSUP_TRY_VALUE(const auto card, netbridge::InterfaceName::parse(wish.bridge));
    NOXSUP_TRY(netbridge::can_use_card(*services_.kernel, card));
    NOXSUP_TRY_VALUE(const auto tap, netbridge::tap_name(spec::tap_id_of(spec_.id, index)));
    network.mode = spec::NetworkMode::macvtap;
    network.bridge = card.str();
    network.tap = tap.str();
    if (wish.address) network.fixed_addresses = {without_prefix(wish.address->cidr)};
    return network;
}

/// An address that a VM can have where it is put: of the bridge's subnets, and nobody's yet. In a
/// VLAN of its own, or on a card, the host may be of another network than the VM.
boost::asio::awaitable<Result<>> Creation::check_fixed_address(imaging::StaticAddress fixed,
                                                               spec::Network network) {
    NOXSUP_CO_TRY_VALUE(const auto wanted, netbridge::parse_interface_cidr(fixed.cidr));
    const auto text = wanted.address.to_string();
    if (const auto owner = services_.registry.owner_of_address(text)) {
        co_return Error{ErrorCode::address_taken, "--ip " + text + " is that of " + *owner,
                        "choose another address"};
    }
    auto& kernel = *services_.kernel;
    if (network.mode != spec::NetworkMode::bridge || network.vlan != 0) co_return Result<>();
    NOXSUP_CO_TRY_VALUE(const auto name, netbridge::InterfaceName::parse(network.bridge));
    NOXSUP_CO_TRY_VALUE(const auto bridge, netbridge::can_use_bridge(kernel, name));
    NOXSUP_CO_TRY_VALUE(const auto own, kernel.addresses(bridge));
    NOXSUP_CO_TRY(netbridge::check_in_subnet(wanted, own, name.str()));
    if (!wanted.address.is_v4()) co_return Result<>();
    auto asking = netbridge::find_address_owner(bridge, wanted.address.to_v4());
    const auto owner = co_await std::move(asking);
    // Who may not ask may not put VMs on a bridge either; then that is the error to come.
    if (!owner && owner.error().code != ErrorCode::host_lacks_right) co_return owner.error();
    if (owner && *owner) {
        co_return Error{
            ErrorCode::address_taken,
            "--ip " + text + " is in use on " + name.str() + ", by " + (*owner)->to_string(),
            "choose another address"};
    }
    co_return Result<>();
}

}  // namespace noxsup::daemon
