// A VM's network cards on the host: their ports of bridges with the rules that go with them, or
// ports of the host that lead to them.

#include <algorithm>

#include "netbridge/macvtap_lease.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/vm/publish_spec.hpp"
#include "supervisor/vm/vm.hpp"

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

bool is_behind_nat(const spec::VmSpec& spec) {
    return std::ranges::any_of(spec.networks, [](const spec::Network& network) {
        return network.mode == spec::NetworkMode::nat;
    });
}

/// What the kernel is to forward to cards behind NAT.
std::vector<netbridge::NatPort> nat_ports(const spec::VmSpec& spec) {
    std::vector<netbridge::NatPort> ports;
    for (const auto& network : spec.networks) {
        const auto mac = netbridge::MacAddress::parse(network.mac);
        if (network.mode != spec::NetworkMode::nat || !mac) continue;
        for (const auto& publish : network.publish) {
            if (is_forwarded(publish)) ports.push_back({*mac, *publish_spec(publish)});
        }
    }
    return ports;
}

}  // namespace

Json network_json(const spec::Network& network,
                  const std::vector<netbridge::ObservedAddress>& addresses) {
    auto seen = Json::array();
    for (const auto& entry : addresses) seen.push_back(entry.address.to_string());
    return {{"mode", to_string(network.mode)},
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
    for (std::size_t i = 0; i < spec().networks.size(); ++i) {
        const bool known = running_ && i < running_->nics.size();
        list.push_back(
            network_json(spec().networks[i], known ? running_->nics[i].addresses
                                                   : std::vector<netbridge::ObservedAddress>()));
    }
    return list;
}

bool Vm::has_address() const {
    return std::ranges::any_of(running_->nics,
                               [](const auto& nic) { return !nic.addresses.empty(); });
}

/// The port of the host that leads to the guest's ssh, or 0.
std::uint16_t Vm::ssh_port() const {
    for (const auto& network : spec().networks) {
        if (network.ssh_port != 0) return network.ssh_port;
    }
    return 0;
}

/// The first card that can be reached; one that leads through QEMU always can.
std::optional<Vm::Endpoint> Vm::guest_ssh() const {
    for (std::size_t i = 0; i < running_->nics.size(); ++i) {
        const auto& network = spec().networks[i];
        if (network.mode == spec::NetworkMode::macvtap) continue;
        if (network.ssh_port != 0) return Endpoint{"127.0.0.1", network.ssh_port};
        const auto& addresses = running_->nics[i].addresses;
        if (!addresses.empty()) return Endpoint{addresses.front().address.to_string(), 22};
    }
    return std::nullopt;
}

boost::asio::awaitable<Result<>> Vm::join_nat(Running& running) {
    if (!is_behind_nat(spec())) co_return Result<>();
    if (!environment_.use_nat) {
        co_return Error{ErrorCode::host_lacks_bridge, "there is no NAT network for " + spec().name};
    }
    auto using_it = environment_.use_nat(nat_ports(spec()));
    NOXSUP_CO_TRY_VALUE(running.nat, co_await std::move(using_it));
    co_return Result<>();
}

/// What is leased goes with `running`, but for what forget_ports() removes.
boost::asio::awaitable<Result<>> Vm::prepare_networks(Running& running) {
    const auto& networks = record_.spec.networks;
    running.nics = std::vector<Nic>(networks.size());
    std::erase_if(degraded_, [](const auto& entry) { return entry.starts_with(not_published); });
    // First what somebody else may have: until it is ours, no port of theirs leads to this VM.
    for (std::size_t i = 0; i < networks.size(); ++i) {
        auto& nic = running.nics[i];
        NOXSUP_CO_TRY(spec::has_tap(networks[i]) ? open_proxies(nic, i) : reserve_ports(nic, i));
    }
    auto joining = join_nat(running);
    NOXSUP_CO_TRY(co_await std::move(joining));
    std::optional<Error> unfiltered;
    for (std::size_t i = 0; i < networks.size(); ++i) {
        auto& nic = running.nics[i];
        if (networks[i].mode == spec::NetworkMode::macvtap) {
            NOXSUP_CO_TRY(co_await lease_macvtap(nic, i));
        } else if (spec::has_tap(networks[i])) {
            NOXSUP_CO_TRY(lease_port(nic, i));
            if (nic.tap->unfiltered) unfiltered = nic.tap->unfiltered;
        }
    }
    tell_unfiltered(unfiltered);
    co_return Result<>();
}

Result<netbridge::TapRequest> Vm::tap_request(std::size_t index) const {
    const auto& network = record_.spec.networks.at(index);
    NOXSUP_TRY_VALUE(const auto bridge, netbridge::InterfaceName::parse(network.bridge));
    NOXSUP_TRY_VALUE(const auto mac, netbridge::MacAddress::parse(network.mac));
    netbridge::TapRequest wanted{bridge, spec::tap_id_of(record_.spec.id, network.slot), record_.spec.uuid,
                                 mac};
    wanted.queues = launch::network_queues(record_.spec, network);
    wanted.check_source = !network.allow_spoofing;
    wanted.isolated = network.isolated;
    wanted.rate = network.rate;
    wanted.vlan = network.vlan;
    for (const auto& address : network.fixed_addresses) {
        NOXSUP_TRY_VALUE(auto fixed, netbridge::parse_ip(address));
        wanted.fixed.push_back(std::move(fixed));
    }
    return wanted;
}

Result<> Vm::lease_port(Nic& nic, std::size_t index) const {
    NOXSUP_TRY_VALUE(const auto wanted, tap_request(index));
    NOXSUP_TRY_VALUE(nic.tap, netbridge::lease_tap(environment_.kernel, wanted));
    nic.outlives_qemu = true;
    // Watching begins before the guest can say a word.
    NOXSUP_TRY_VALUE(nic.watcher, watch_nic(index));
    return {};
}

boost::asio::awaitable<Result<>> Vm::lease_macvtap(Nic& nic, std::size_t index) const {
    const auto& network = record_.spec.networks.at(index);
    NOXSUP_CO_TRY_VALUE(const auto card, netbridge::InterfaceName::parse(network.bridge));
    NOXSUP_CO_TRY_VALUE(const auto mac, netbridge::MacAddress::parse(network.mac));
    netbridge::MacvtapRequest wanted{card, spec::tap_id_of(record_.spec.id, network.slot),
                                     record_.spec.uuid, mac};
    wanted.queues = launch::network_queues(record_.spec, network);
    auto leasing = netbridge::lease_macvtap(environment_.kernel, std::move(wanted));
    NOXSUP_CO_TRY_VALUE(auto lease, co_await std::move(leasing));
    nic.outlives_qemu = true;
    nic.tap.emplace();
    nic.tap->link = std::move(lease.link);
    nic.tap->taps = std::move(lease.taps);
    nic.tap->vhosts = std::move(lease.vhosts);
    NOXSUP_CO_TRY_VALUE(nic.watcher, watch_nic(index));
    co_return Result<>();
}

Result<std::unique_ptr<netbridge::AddressWatcher>> Vm::watch_nic(std::size_t index) const {
    const auto& network = record_.spec.networks.at(index);
    NOXSUP_TRY_VALUE(const auto device, netbridge::InterfaceName::parse(network.tap));
    NOXSUP_TRY_VALUE(const auto mac, netbridge::MacAddress::parse(network.mac));
    const bool macvtap = network.mode == spec::NetworkMode::macvtap;
    return netbridge::AddressWatcher::open(
        environment_.executor, device, mac,
        macvtap ? netbridge::GuestDevice::macvtap : netbridge::GuestDevice::tap);
}

/// Serves the published ports of a card on a bridge, at the address that is known at that time.
/// @param nic stays where it is for as long as the proxies
Result<> Vm::open_proxies(Nic& nic, std::size_t index) const {
    const auto find_guest = [&nic]() -> std::optional<netbridge::IpAddress> {
        if (nic.addresses.empty()) return std::nullopt;
        return nic.addresses.front().address;
    };
    for (const auto& publish : record_.spec.networks.at(index).publish) {
        NOXSUP_TRY_VALUE(const auto wanted, publish_spec(publish));
        NOXSUP_TRY_VALUE(auto proxy, PortProxy::open(environment_.executor, wanted, find_guest));
        nic.proxies.push_back(std::move(proxy));
    }
    return {};
}

Result<> Vm::reserve_ports(Nic& nic, std::size_t index) {
    auto& network = record_.spec.networks.at(index);
    // The first card is the one that leads to ssh.
    if (index == 0) {
        netbridge::PublishSpec ssh;
        ssh.host_port = network.ssh_port;
        ssh.guest_port = 22;
        auto kept = network.ssh_port != 0
                        ? netbridge::reserve_port(ssh)
                        : Result<netbridge::PortReservation>(Error{ErrorCode::no_ports, ""});
        if (!kept) kept = netbridge::reserve_loopback_port();
        if (!kept) return std::move(kept).error();
        network.ssh_port = kept->port();
        nic.ports.push_back(std::move(*kept));
    }
    for (const auto& publish : network.publish) {
        NOXSUP_TRY_VALUE(const auto wanted, publish_spec(publish));
        NOXSUP_TRY_VALUE(auto reserved, netbridge::reserve_port(wanted));
        nic.ports.push_back(std::move(reserved));
    }
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

/// The rules of TAPs that went with their QEMU, and macvtaps, which did not.
void Vm::forget_ports(const Running& running) const {
    for (std::size_t i = 0; i < running.nics.size(); ++i) {
        if (!running.nics[i].outlives_qemu) continue;
        const auto& network = spec().networks.at(i);
        const auto tap = netbridge::InterfaceName::parse(network.tap);
        if (!tap) continue;
        const auto forgotten = network.mode == spec::NetworkMode::macvtap
                                   ? netbridge::forget_macvtap(environment_.kernel, *tap)
                                   : netbridge::forget_tap(environment_.kernel, *tap);
        if (!forgotten) log_warning(forgotten.error().message);
    }
}

/// Follows the addresses of a QEMU that an earlier supervisor started, and serves its ports again.
void Vm::watch_again(Running& running) {
    const auto& networks = spec().networks;
    if (environment_.keep_nat && is_behind_nat(spec()))
        running.nat = environment_.keep_nat(nat_ports(spec()));
    running.nics = std::vector<Nic>(networks.size());
    for (std::size_t i = 0; i < networks.size(); ++i) {
        if (!spec::has_tap(networks[i])) continue;
        auto& nic = running.nics[i];
        nic.outlives_qemu = true;
        auto watcher = watch_nic(i);
        if (watcher) nic.watcher = std::move(*watcher);
        const auto served = open_proxies(nic, i);
        if (served) continue;
        degraded_.push_back(std::string(not_published) + ": " + served.error().message);
        log_warning("a port of " + spec().name + " is not served: " + served.error().message);
    }
}

bool Vm::has_port() const {
    return running_ && !running_->ended &&
           std::ranges::any_of(spec().networks, [](const auto& card) { return has_filter(card); });
}

void Vm::restore_ports(const std::vector<std::string>& tables) {
    if (!has_port()) return;
    bool restored_any = false;
    std::optional<Error> failure;
    for (std::size_t i = 0; i < spec().networks.size(); ++i) {
        if (!has_filter(spec().networks[i])) continue;
        const auto restored = restore_port(i, tables);
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
Result<bool> Vm::restore_port(std::size_t index, const std::vector<std::string>& tables) const {
    NOXSUP_TRY_VALUE(const auto wanted, tap_request(index));
    const auto& nic = running_->nics.at(index);
    // Right after an adoption the watcher knows more than was told so far.
    const auto& seen_now = nic.watcher ? nic.watcher->addresses() : nic.addresses;
    return netbridge::restore_filter(environment_.kernel, wanted,
                                     netbridge::credible_addresses(seen_now), tables);
}

}  // namespace noxsup::vm
