#include "supervisor/daemon/network_choice.hpp"

#include <algorithm>

#include "netbridge/address_probe.hpp"
#include "netbridge/bridge.hpp"
#include "netbridge/ip_address.hpp"
#include "netbridge/mac_address.hpp"
#include "netbridge/macvtap_lease.hpp"
#include "netbridge/nat/nat_bridge.hpp"
#include "netbridge/ports.hpp"
#include "netbridge/tap_lease.hpp"
#include "supervisor/spec/cards.hpp"
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

Result<std::string> choose_mac(const Services& services, const spec::VmSpec& vm,
                               const std::string& wanted) {
    const auto is_taken = [&services, &vm](const std::string& mac) {
        return services.registry.has_mac(mac) ||
               std::ranges::find(vm.networks, mac, &spec::Network::mac) != vm.networks.end();
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

Result<spec::Network> choose_macvtap(const Services& services, const NetworkWish& wish,
                                     spec::Network network) {
    NOXSUP_TRY_VALUE(const auto card, netbridge::InterfaceName::parse(wish.bridge));
    NOXSUP_TRY(netbridge::can_use_card(*services.kernel, card));
    network.mode = spec::NetworkMode::macvtap;
    network.bridge = card.str();
    if (wish.address) network.fixed_addresses = {without_prefix(wish.address->cidr)};
    return network;
}

/// The bridge that the card is put on, as far as the wish leads to one.
Result<bool> can_be_bridged(const Services& services, const NetworkWish& wish,
                            const std::string& bridge) {
    const bool asked_for = wish.mode == spec::NetworkMode::bridge;
    // A published port is a wish for user-mode networking.
    if (!asked_for && (wish.mode || !wish.publish.empty())) return false;
    NOXSUP_TRY_VALUE(const auto name, netbridge::InterfaceName::parse(bridge));
    const auto usable = netbridge::can_use_bridge(*services.kernel, name);
    // What only a bridge gives was asked for.
    const bool needs_one = asked_for || wish.address || wish.isolated || wish.allow_spoofing ||
                           wish.rate != 0 || wish.vlan != 0;
    if (!usable && needs_one) return usable.error();
    if (usable && wish.vlan != 0)
        NOXSUP_TRY(netbridge::can_use_vlan(*services.kernel, *usable, wish.vlan));
    return usable.has_value();
}

}  // namespace

Result<spec::Network> choose_network(const Services& services, const spec::VmSpec& vm,
                                     const NetworkWish& wish) {
    spec::Network network;
    const auto slot = spec::free_slot(vm.networks);
    if (!slot) {
        return Error{ErrorCode::invalid_argument, vm.name + " has " +
                                                      std::to_string(spec::max_networks) +
                                                      " network cards, which is the most"};
    }
    network.slot = *slot;
    NOXSUP_TRY_VALUE(network.mac, choose_mac(services, vm, wish.mac));
    NOXSUP_TRY_VALUE(const auto tap, netbridge::tap_name(spec::tap_id_of(vm.id, *slot)));
    if (wish.mode == spec::NetworkMode::macvtap) {
        network.tap = tap.str();
        return choose_macvtap(services, wish, std::move(network));
    }
    const auto bridge = wish.bridge.empty() ? std::string(usual_bridge) : wish.bridge;
    NOXSUP_TRY_VALUE(const bool bridged, can_be_bridged(services, wish, bridge));
    network.publish = wish.publish;
    NOXSUP_TRY(check_ports(network.publish));
    const bool behind_nat = !bridged && wish.mode == spec::NetworkMode::nat;
    if (!bridged && !behind_nat) {
        network.mode = spec::NetworkMode::user;
        network.restricted = services.config.restrict_user_network;
        return network;
    }
    if (behind_nat) NOXSUP_TRY(services.nat.available());
    network.mode = behind_nat ? spec::NetworkMode::nat : spec::NetworkMode::bridge;
    network.bridge = behind_nat ? std::string(netbridge::nat_bridge_name) : bridge;
    network.tap = tap.str();
    network.allow_spoofing = wish.allow_spoofing;
    network.isolated = wish.isolated;
    network.rate = wish.rate;
    network.vlan = wish.vlan;
    if (wish.address) network.fixed_addresses = {without_prefix(wish.address->cidr)};
    return network;
}

std::string macvtap_note(const spec::Network& network) {
    return "over the macvtap on " + network.bridge +
           " this host and the VM do not reach each other; the LAN's other hosts do, and nothing "
           "checks what the VM sends";
}

// In a VLAN of its own, or on a card, the host may be of another network than the VM.
boost::asio::awaitable<Result<>> check_fixed_address(const Services& services,
                                                     imaging::StaticAddress fixed,
                                                     spec::Network network) {
    NOXSUP_CO_TRY_VALUE(const auto wanted, netbridge::parse_interface_cidr(fixed.cidr));
    const auto text = wanted.address.to_string();
    if (const auto owner = services.registry.owner_of_address(text)) {
        co_return Error{ErrorCode::address_taken, "--ip " + text + " is that of " + *owner,
                        "choose another address"};
    }
    auto& kernel = *services.kernel;
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
