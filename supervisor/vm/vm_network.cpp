// A VM's network cards on the host: their ports of bridges with the rules that go with them, or
// ports of the host that lead to them.

#include <algorithm>

#include "netbridge/macvtap_lease.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/vm/publish_spec.hpp"
#include "supervisor/vm/vm_running.hpp"

namespace noxsup::vm {
namespace {

constexpr std::string_view not_filtered = "no-port-filter";
constexpr std::string_view not_published = "not-published";

bool is_forwarded(const spec::Publish& publish) {
    const auto wanted = publish_spec(publish);
    return wanted && netbridge::is_forwarded(*wanted);
}

const char* who_forwards(const spec::Network& network, const spec::Publish& publish) {
    if (!spec::has_tap(network)) return "qemu";
    return network.mode == spec::NetworkMode::nat && is_forwarded(publish) ? "kernel"
                                                                           : "supervisor";
}

Json publish_json(const spec::Network& network) {
    auto list = Json::array();
    for (const auto& entry : network.publish) {
        list.push_back({{"host_address", entry.host_address},
                        {"host_port", entry.host_port},
                        {"guest_port", entry.guest_port},
                        {"protocol", to_string(entry.protocol)},
                        {"by", who_forwards(network, entry)}});
    }
    return list;
}

/// Whether what the guest sends is checked at its port.
bool has_filter(const spec::Network& network) {
    return network.mode == spec::NetworkMode::bridge || network.mode == spec::NetworkMode::nat;
}

/// What the kernel is to forward to a card behind NAT.
std::vector<netbridge::NatPort> nat_ports(const spec::Network& network) {
    std::vector<netbridge::NatPort> ports;
    const auto mac = netbridge::MacAddress::parse(network.mac);
    if (!mac) return ports;
    for (const auto& publish : network.publish) {
        if (is_forwarded(publish)) ports.push_back({*mac, *publish_spec(publish)});
    }
    return ports;
}

}  // namespace

Json network_json(const spec::Network& network,
                  const std::vector<netbridge::ObservedAddress>& addresses) {
    auto seen = Json::array();
    for (const auto& entry : addresses) seen.push_back(entry.address.to_string());
    return {{"slot", network.slot},
            {"mode", to_string(network.mode)},
            {"bridge", network.bridge.empty() ? Json() : Json(network.bridge)},
            {"mac", network.mac},
            {"addresses", std::move(seen)},
            {"isolated", network.isolated},
            {"allow_spoofing", network.allow_spoofing},
            {"rate", network.rate == 0 ? Json() : Json(network.rate)},
            {"vlan", network.vlan == 0 ? Json() : Json(network.vlan)},
            {"publish", publish_json(network)}};
}

Json Vm::networks_json() const {
    auto list = Json::array();
    for (const auto& network : spec().networks) {
        const auto nic = running_ ? running_->nic_in(network.slot) : nullptr;
        list.push_back(network_json(
            network, nic ? nic->addresses : std::vector<netbridge::ObservedAddress>()));
    }
    return list;
}

bool Vm::has_address() const {
    return std::ranges::any_of(running_->nics,
                               [](const auto& nic) { return !nic->addresses.empty(); });
}

/// The port of the host that leads to the guest's ssh, or 0.
std::uint16_t Vm::ssh_port() const {
    for (const auto& network : spec().networks) {
        if (network.ssh_port != 0) return network.ssh_port;
    }
    return 0;
}

/// The first card that can be reached; one that leads through QEMU always can. Where no address has
/// been seen, one that was given by hand.
std::optional<Vm::Endpoint> Vm::guest_ssh() const {
    for (const auto& nic : running_->nics) {
        const auto& network = nic->card;
        if (network.mode == spec::NetworkMode::macvtap) continue;
        if (network.ssh_port != 0) return Endpoint{"127.0.0.1", network.ssh_port};
        const auto& addresses = nic->addresses;
        if (!addresses.empty()) return Endpoint{addresses.front().address.to_string(), 22};
    }
    // A guest that leases nothing may say nothing until somebody asks for it.
    for (const auto& nic : running_->nics) {
        const auto& network = nic->card;
        if (network.mode == spec::NetworkMode::macvtap) continue;
        if (!network.fixed_addresses.empty()) return Endpoint{network.fixed_addresses.front(), 22};
    }
    return std::nullopt;
}

boost::asio::awaitable<Result<>> Vm::join_nat(Nic& nic) const {
    if (nic.card.mode != spec::NetworkMode::nat) co_return Result<>();
    if (!environment_.use_nat) {
        co_return Error{ErrorCode::host_lacks_bridge, "there is no NAT network for " + spec().name};
    }
    auto using_it = environment_.use_nat(nat_ports(nic.card));
    NOXSUP_CO_TRY_VALUE(nic.nat, co_await std::move(using_it));
    co_return Result<>();
}

/// What is leased goes with `running`, but for what forget_ports() removes.
boost::asio::awaitable<Result<>> Vm::prepare_networks(Running& running) {
    running.nics.clear();
    for (const auto& network : spec().networks)
        running.nics.push_back(std::make_shared<Nic>(network));
    std::erase_if(degraded_, [](const auto& entry) { return entry.starts_with(not_published); });
    // First what somebody else may have: until it is ours, no port of theirs leads to this VM.
    NOXSUP_CO_TRY(reserve_ssh_port(*running.nics.front()));
    for (const auto& nic : running.nics) NOXSUP_CO_TRY(claim_ports(*nic));
    std::optional<Error> unfiltered;
    for (const auto& nic : running.nics) {
        auto joining = join_nat(*nic);
        NOXSUP_CO_TRY(co_await std::move(joining));
        auto leasing = lease_device(*nic);
        NOXSUP_CO_TRY(co_await std::move(leasing));
        if (nic->tap && nic->tap->unfiltered) unfiltered = nic->tap->unfiltered;
    }
    tell_unfiltered(unfiltered);
    co_return Result<>();
}

/// The host's ports that lead to the card: served from now on, or kept until QEMU serves them.
Result<> Vm::claim_ports(Nic& nic) const {
    if (spec::has_tap(nic.card)) return open_proxies(nic);
    for (const auto& publish : nic.card.publish) {
        NOXSUP_TRY_VALUE(const auto wanted, publish_spec(publish));
        NOXSUP_TRY_VALUE(auto reserved, netbridge::reserve_port(wanted));
        nic.ports.push_back(std::move(reserved));
    }
    return {};
}

/// Its device, where it has one. @pre the bridge is there
boost::asio::awaitable<Result<>> Vm::lease_device(Nic& nic) const {
    if (!spec::has_tap(nic.card)) co_return Result<>();
    if (nic.card.mode != spec::NetworkMode::macvtap) co_return lease_port(nic);
    auto leasing = lease_macvtap(nic);
    auto outcome = co_await std::move(leasing);
    co_return outcome;
}

Result<netbridge::TapRequest> Vm::tap_request(const spec::Network& card) const {
    NOXSUP_TRY_VALUE(const auto bridge, netbridge::InterfaceName::parse(card.bridge));
    NOXSUP_TRY_VALUE(const auto mac, netbridge::MacAddress::parse(card.mac));
    netbridge::TapRequest wanted{bridge, spec::tap_id_of(spec().id, card.slot), spec().uuid, mac};
    wanted.queues = launch::network_queues(spec(), card);
    wanted.check_source = !card.allow_spoofing;
    wanted.isolated = card.isolated;
    wanted.rate = card.rate;
    wanted.vlan = card.vlan;
    for (const auto& address : card.fixed_addresses) {
        NOXSUP_TRY_VALUE(auto fixed, netbridge::parse_ip(address));
        wanted.fixed.push_back(std::move(fixed));
    }
    if (!record_.saved_ram) return wanted;
    const auto leased = record_.saved_ram->addresses.find(card.mac);
    if (leased == record_.saved_ram->addresses.end()) return wanted;
    for (const auto& address : leased->second) {
        NOXSUP_TRY_VALUE(auto known, netbridge::parse_ip(address));
        wanted.known.push_back(std::move(known));
    }
    return wanted;
}

Result<> Vm::lease_port(Nic& nic) const {
    NOXSUP_TRY_VALUE(const auto wanted, tap_request(nic.card));
    NOXSUP_TRY_VALUE(nic.tap, netbridge::lease_tap(environment_.kernel, wanted));
    nic.outlives_qemu = true;
    // Watching begins before the guest can say a word.
    NOXSUP_TRY_VALUE(nic.watcher, watch_nic(nic.card));
    nic.watcher->remember(wanted.known);
    nic.addresses = nic.watcher->addresses();
    return {};
}

boost::asio::awaitable<Result<>> Vm::lease_macvtap(Nic& nic) const {
    NOXSUP_CO_TRY_VALUE(const auto parent, netbridge::InterfaceName::parse(nic.card.bridge));
    NOXSUP_CO_TRY_VALUE(const auto mac, netbridge::MacAddress::parse(nic.card.mac));
    netbridge::MacvtapRequest wanted{parent, spec::tap_id_of(spec().id, nic.card.slot), spec().uuid,
                                     mac};
    wanted.queues = launch::network_queues(spec(), nic.card);
    auto leasing = netbridge::lease_macvtap(environment_.kernel, std::move(wanted));
    NOXSUP_CO_TRY_VALUE(auto lease, co_await std::move(leasing));
    nic.outlives_qemu = true;
    nic.tap.emplace();
    nic.tap->link = std::move(lease.link);
    nic.tap->taps = std::move(lease.taps);
    nic.tap->vhosts = std::move(lease.vhosts);
    NOXSUP_CO_TRY_VALUE(nic.watcher, watch_nic(nic.card));
    co_return Result<>();
}

Result<std::unique_ptr<netbridge::AddressWatcher>> Vm::watch_nic(const spec::Network& card) const {
    NOXSUP_TRY_VALUE(const auto device, netbridge::InterfaceName::parse(card.tap));
    NOXSUP_TRY_VALUE(const auto mac, netbridge::MacAddress::parse(card.mac));
    const bool macvtap = card.mode == spec::NetworkMode::macvtap;
    return netbridge::AddressWatcher::open(
        environment_.executor, device, mac,
        macvtap ? netbridge::GuestDevice::macvtap : netbridge::GuestDevice::tap);
}

/// Serves the published ports of a card on a bridge, at the address that is known at that time.
/// @param nic stays where it is for as long as the proxies
Result<> Vm::open_proxies(Nic& nic) const {
    const auto find_guest = [&nic]() -> std::optional<netbridge::IpAddress> {
        if (nic.addresses.empty()) return std::nullopt;
        return nic.addresses.front().address;
    };
    for (const auto& publish : nic.card.publish) {
        NOXSUP_TRY_VALUE(const auto wanted, publish_spec(publish));
        NOXSUP_TRY_VALUE(auto proxy, PortProxy::open(environment_.executor, wanted, find_guest));
        nic.proxies.push_back(std::move(proxy));
    }
    return {};
}

/// The first card is the one that leads to ssh; behind QEMU it takes a port of the host.
Result<> Vm::reserve_ssh_port(Nic& nic) {
    if (spec::has_tap(nic.card)) return {};
    netbridge::PublishSpec ssh;
    ssh.host_port = nic.card.ssh_port;
    ssh.guest_port = 22;
    auto kept = nic.card.ssh_port != 0
                    ? netbridge::reserve_port(ssh)
                    : Result<netbridge::PortReservation>(Error{ErrorCode::no_ports, ""});
    if (!kept) kept = netbridge::reserve_loopback_port();
    if (!kept) return std::move(kept).error();
    nic.card.ssh_port = kept->port();
    record_.spec.networks.front().ssh_port = kept->port();
    nic.ports.push_back(std::move(*kept));
    return {};
}

/// A VM whose frames nobody checks runs as well, and it shows.
void Vm::tell_unfiltered(const std::optional<Error>& why) {
    const auto text = why ? std::string(not_filtered) + ": " + why->message : std::string();
    const bool told = std::ranges::find(degraded_, text) != degraded_.end();
    std::erase_if(degraded_, [](const auto& entry) { return entry.starts_with(not_filtered); });
    if (!why) return;
    degraded_.push_back(text);
    if (!told) log_warning(spec().name + " may send from any address: " + why->message);
}

/// The rules of a TAP that went with its QEMU, or a macvtap, which did not.
void Vm::forget_port(const Nic& nic) const {
    if (!nic.outlives_qemu) return;
    const auto tap = netbridge::InterfaceName::parse(nic.card.tap);
    if (!tap) return;
    const auto forgotten = nic.card.mode == spec::NetworkMode::macvtap
                               ? netbridge::forget_macvtap(environment_.kernel, *tap)
                               : netbridge::forget_tap(environment_.kernel, *tap);
    if (!forgotten) log_warning(forgotten.error().message);
}

void Vm::forget_ports(const Running& running) const {
    for (const auto& nic : running.nics) forget_port(*nic);
}

/// Follows the addresses of a QEMU that an earlier supervisor started, and serves its ports again.
void Vm::watch_again(Running& running) {
    const auto& networks = spec().networks;
    running.nics.clear();
    for (const auto& network : networks) {
        const auto nic = running.nics.emplace_back(std::make_shared<Nic>(network));
        if (!spec::has_tap(network)) continue;
        nic->outlives_qemu = true;
        if (environment_.keep_nat && network.mode == spec::NetworkMode::nat)
            nic->nat = environment_.keep_nat(nat_ports(network));
        auto watcher = watch_nic(network);
        if (watcher) nic->watcher = std::move(*watcher);
        const auto served = open_proxies(*nic);
        if (served) continue;
        degraded_.push_back(std::string(not_published) + ": " + served.error().message);
        log_warning("a port of " + spec().name + " is not served: " + served.error().message);
    }
}

bool Vm::has_port() const {
    return running_ && !running_->ended && std::ranges::any_of(running_->nics, [](const auto& nic) {
               return has_filter(nic->card);
           });
}

void Vm::restore_ports(const std::vector<std::string>& tables) {
    if (!has_port()) return;
    bool restored_any = false;
    std::optional<Error> failure;
    for (const auto& nic : running_->nics) {
        // One that is just coming has no port yet.
        if (!has_filter(nic->card) || !nic->outlives_qemu) continue;
        const auto restored = restore_port(*nic, tables);
        if (!restored) failure = restored.error();
        restored_any = restored_any || (restored && *restored);
    }
    if (!restored_any && !failure) return;
    if (restored_any)
        log_warning("the port filter of " + spec().name + " was gone; it is there again");
    tell_unfiltered(failure);
    changed();
}

/// Whether it had to be.
Result<bool> Vm::restore_port(const Nic& nic, const std::vector<std::string>& tables) const {
    NOXSUP_TRY_VALUE(const auto wanted, tap_request(nic.card));
    // Right after an adoption the watcher knows more than was told so far.
    const auto& seen_now = nic.watcher ? nic.watcher->addresses() : nic.addresses;
    return netbridge::restore_filter(environment_.kernel, wanted,
                                     netbridge::credible_addresses(seen_now), tables);
}

}  // namespace noxsup::vm
