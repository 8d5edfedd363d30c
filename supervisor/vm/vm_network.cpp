// A VM's network cards on the host: their ports of bridges with the rules that go with them, or
// ports of the host that lead to them.

#include <algorithm>

#include "netbridge/publish.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/vm/vm.hpp"

namespace noxsup::vm {
namespace {

constexpr std::string_view not_filtered = "no-port-filter";

/// The spec's published port in netbridge's terms. The spec was validated when it was made.
Result<netbridge::PublishSpec> publish_spec(const spec::Publish& publish) {
    return netbridge::parse_publish(publish.host_address + ":" + std::to_string(publish.host_port) +
                                    ":" + std::to_string(publish.guest_port) + "/" +
                                    std::string(to_string(publish.protocol)));
}

Json publish_json(const spec::Network& network) {
    auto list = Json::array();
    for (const auto& entry : network.publish) {
        list.push_back({{"host_address", entry.host_address},
                        {"host_port", entry.host_port},
                        {"guest_port", entry.guest_port},
                        {"protocol", to_string(entry.protocol)}});
    }
    return list;
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
        if (network.ssh_port != 0) return Endpoint{"127.0.0.1", network.ssh_port};
        const auto& addresses = running_->nics[i].addresses;
        if (!addresses.empty()) return Endpoint{addresses.front().address.to_string(), 22};
    }
    return std::nullopt;
}

/// What is leased goes with `running`, but for rules of TAPs: those forget_ports() removes.
Result<> Vm::prepare_networks(Running& running) {
    const auto& networks = record_.spec.networks;
    running.nics = std::vector<Nic>(networks.size());
    std::optional<Error> unfiltered;
    for (std::size_t i = 0; i < networks.size(); ++i) {
        if (spec::has_tap(networks[i])) {
            NOXSUP_TRY(lease_port(running.nics[i], i));
            if (running.nics[i].tap->unfiltered) unfiltered = running.nics[i].tap->unfiltered;
        } else {
            NOXSUP_TRY(reserve_ports(running.nics[i], i));
        }
    }
    tell_unfiltered(unfiltered);
    return {};
}

Result<netbridge::TapRequest> Vm::tap_request(std::size_t index) const {
    const auto& network = record_.spec.networks.at(index);
    NOXSUP_TRY_VALUE(const auto bridge, netbridge::InterfaceName::parse(network.bridge));
    NOXSUP_TRY_VALUE(const auto mac, netbridge::MacAddress::parse(network.mac));
    netbridge::TapRequest wanted{bridge, spec::tap_id_of(record_.spec.id, index), record_.spec.uuid,
                                 mac};
    wanted.queues = launch::network_queues(record_.spec, network);
    wanted.check_source = !network.allow_spoofing;
    wanted.isolated = network.isolated;
    wanted.rate = network.rate;
    for (const auto& address : network.fixed_addresses) {
        NOXSUP_TRY_VALUE(auto fixed, netbridge::parse_ip(address));
        wanted.fixed.push_back(std::move(fixed));
    }
    return wanted;
}

Result<> Vm::lease_port(Nic& nic, std::size_t index) const {
    NOXSUP_TRY_VALUE(const auto wanted, tap_request(index));
    NOXSUP_TRY_VALUE(nic.tap, netbridge::lease_tap(environment_.kernel, wanted));
    nic.has_rules = true;
    // Watching begins before the guest can say a word.
    NOXSUP_TRY_VALUE(const auto tap, netbridge::tap_name(wanted.id));
    NOXSUP_TRY_VALUE(nic.watcher,
                     netbridge::AddressWatcher::open(environment_.executor, tap, wanted.guest_mac));
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

/// The rules of TAPs that went with their QEMU.
void Vm::forget_ports(const Running& running) const {
    for (std::size_t i = 0; i < running.nics.size(); ++i) {
        if (!running.nics[i].has_rules) continue;
        const auto tap = netbridge::InterfaceName::parse(spec().networks.at(i).tap);
        if (!tap) continue;
        if (const auto forgotten = netbridge::forget_tap(environment_.kernel, *tap); !forgotten)
            log_warning(forgotten.error().message);
    }
}

/// Follows the addresses of a QEMU that an earlier supervisor started.
void Vm::watch_again(Running& running) const {
    const auto& networks = spec().networks;
    running.nics = std::vector<Nic>(networks.size());
    for (std::size_t i = 0; i < networks.size(); ++i) {
        if (!spec::has_tap(networks[i])) continue;
        running.nics[i].has_rules = true;
        const auto tap = netbridge::InterfaceName::parse(networks[i].tap);
        const auto mac = netbridge::MacAddress::parse(networks[i].mac);
        if (!tap || !mac) continue;
        auto watcher = netbridge::AddressWatcher::open(environment_.executor, *tap, *mac);
        if (watcher) running.nics[i].watcher = std::move(*watcher);
    }
}

bool Vm::has_port() const {
    return running_ && !running_->ended && spec::has_tap(spec());
}

void Vm::restore_ports(const std::vector<std::string>& tables) {
    if (!has_port()) return;
    bool restored_any = false;
    std::optional<Error> failure;
    for (std::size_t i = 0; i < spec().networks.size(); ++i) {
        if (!spec::has_tap(spec().networks[i])) continue;
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
