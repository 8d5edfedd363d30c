// A VM's network card on the host: its port of a bridge with the rules that go with it, or ports of
// the host that lead to it.

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

}  // namespace

Result<> Vm::prepare_network(Running& running) {
    if (record_.spec.network.mode == spec::NetworkMode::bridge) return lease_port(running);
    return reserve_ports(running);
}

Result<netbridge::TapRequest> Vm::tap_request() const {
    const auto& network = record_.spec.network;
    NOXSUP_TRY_VALUE(const auto bridge, netbridge::InterfaceName::parse(network.bridge));
    NOXSUP_TRY_VALUE(const auto mac, netbridge::MacAddress::parse(network.mac));
    netbridge::TapRequest wanted{bridge, record_.spec.id, record_.spec.uuid, mac};
    wanted.queues = launch::network_queues(record_.spec);
    wanted.check_source = !network.allow_spoofing;
    wanted.isolated = network.isolated;
    wanted.rate = network.rate;
    for (const auto& address : network.fixed_addresses) {
        NOXSUP_TRY_VALUE(auto fixed, netbridge::parse_ip(address));
        wanted.fixed.push_back(std::move(fixed));
    }
    return wanted;
}

Result<> Vm::lease_port(Running& running) {
    NOXSUP_TRY_VALUE(const auto wanted, tap_request());
    NOXSUP_TRY_VALUE(running.tap, netbridge::lease_tap(environment_.kernel, wanted));
    tell_unfiltered(running.tap->unfiltered);
    // Watching begins before the guest can say a word.
    NOXSUP_TRY_VALUE(const auto tap, netbridge::tap_name(record_.spec.id));
    auto watcher = netbridge::AddressWatcher::open(environment_.executor, tap, wanted.guest_mac);
    if (!watcher) {
        forget_port();
        return std::move(watcher).error();
    }
    running.watcher = std::move(*watcher);
    return {};
}

Result<> Vm::reserve_ports(Running& running) {
    auto& network = record_.spec.network;
    netbridge::PublishSpec ssh;
    ssh.host_port = network.ssh_port;
    ssh.guest_port = 22;
    auto kept = network.ssh_port != 0
                    ? netbridge::reserve_port(ssh)
                    : Result<netbridge::PortReservation>(Error{ErrorCode::no_ports, ""});
    if (!kept) kept = netbridge::reserve_loopback_port();
    if (!kept) return std::move(kept).error();
    network.ssh_port = kept->port();
    running.ports.push_back(std::move(*kept));
    for (const auto& publish : network.publish) {
        NOXSUP_TRY_VALUE(const auto wanted, publish_spec(publish));
        NOXSUP_TRY_VALUE(auto reserved, netbridge::reserve_port(wanted));
        running.ports.push_back(std::move(reserved));
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

/// The rules of a TAP that went with its QEMU.
void Vm::forget_port() const {
    if (record_.spec.network.mode != spec::NetworkMode::bridge) return;
    const auto tap = netbridge::InterfaceName::parse(record_.spec.network.tap);
    if (!tap) return;
    if (const auto forgotten = netbridge::forget_tap(environment_.kernel, *tap); !forgotten)
        log_warning(forgotten.error().message);
}

bool Vm::has_port() const {
    return running_ && !running_->ended && record_.spec.network.mode == spec::NetworkMode::bridge;
}

void Vm::restore_port(const std::vector<std::string>& tables) {
    if (!has_port()) return;
    const auto wanted = tap_request();
    if (!wanted) return;
    std::vector<netbridge::IpAddress> known;
    // Right after an adoption the watcher knows more than was told so far.
    const auto& seen_now = running_->watcher ? running_->watcher->addresses() : running_->addresses;
    for (const auto& seen : seen_now) known.push_back(seen.address);
    const auto restored = netbridge::restore_filter(environment_.kernel, *wanted, known, tables);
    if (restored && !*restored) return;
    if (restored) {
        log_warning("the port filter of " + spec().name + " was gone; it is there again");
        tell_unfiltered(std::nullopt);
    } else {
        tell_unfiltered(restored.error());
    }
    changed();
}

}  // namespace noxsup::vm
