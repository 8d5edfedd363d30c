#include "supervisor/launch/nic.hpp"

#include <optional>

#include "supervisor/base/number.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::launch {
namespace {

constexpr std::string_view nic_prefix = "nic";
constexpr std::string_view spare_prefix = "spare";

/// "tcp:127.0.0.1:2222-:22": libslirp's words for the ports of the host that lead to the guest.
std::string forward(std::string_view protocol, const std::string& address, unsigned host_port,
                    unsigned guest_port) {
    return std::string(protocol) + ":" + address + ":" + std::to_string(host_port) +
           "-:" + std::to_string(guest_port);
}

std::vector<std::string> forwards_of(const spec::Network& network) {
    std::vector<std::string> list;
    if (network.ssh_port != 0) list.push_back(forward("tcp", "127.0.0.1", network.ssh_port, 22));
    for (const auto& rule : network.publish) {
        list.push_back(forward(spec::to_string(rule.protocol), rule.host_address, rule.host_port,
                               rule.guest_port));
    }
    return list;
}

/// "fd" and "7", or "fds" and "7:8" for several queues.
struct QueueOption {
    std::string key;
    std::string value;
};
QueueOption queue_option(std::string key, const std::vector<std::string>& fds) {
    if (fds.size() > 1) key += 's';
    return {std::move(key), join(fds, ":")};
}

std::vector<std::string> numbers(const std::vector<int>& fds) {
    std::vector<std::string> texts;
    texts.reserve(fds.size());
    for (const int fd : fds) texts.push_back(std::to_string(fd));
    return texts;
}

/// The 1 of "nic1" with the prefix "nic".
std::optional<unsigned> number_behind(std::string_view prefix, std::string_view id) {
    if (!id.starts_with(prefix)) return std::nullopt;
    return whole_number<unsigned>(id.substr(prefix.size()));
}

const Json& list_in(const Json& object, std::string_view key) {
    static const Json none = Json::array();
    const auto* found = detail::find_member(object, key);
    return found != nullptr && found->is_array() ? *found : none;
}

void take_places(const Json& devices, TakenPlaces& places) {
    for (const auto& device : devices) {
        const auto id = json_member_or<std::string>(device, "qdev_id", "");
        if (!id) continue;
        if (const auto slot = number_behind(nic_prefix, *id)) places.slots.insert(*slot);
        const auto* bridge = detail::find_member(device, "pci_bridge");
        if (bridge == nullptr) continue;
        const auto& behind = list_in(*bridge, "devices");
        const auto port = number_behind(spare_prefix, *id);
        if (port && !behind.empty()) places.ports.insert(*port);
        // One level alone: nothing of ours is behind more than one root port.
        for (const auto& card : behind) {
            const auto name = json_member_or<std::string>(card, "qdev_id", "");
            if (!name) continue;
            if (const auto slot = number_behind(nic_prefix, *name)) places.slots.insert(*slot);
        }
    }
}

}  // namespace

std::string netdev_id(const spec::Network& network) {
    return "net" + std::to_string(network.slot);
}

std::string nic_id(const spec::Network& network) {
    return std::string(nic_prefix) + std::to_string(network.slot);
}

std::string netdev_option(const spec::Network& network, const NicFds& fds) {
    const auto id = netdev_id(network);
    if (spec::has_tap(network)) {
        const auto taps = queue_option("fd", numbers(fds.taps));
        auto text = "tap,id=" + id + "," + taps.key + "=" + taps.value;
        if (!fds.vhosts.empty()) {
            const auto vhosts = queue_option("vhostfd", numbers(fds.vhosts));
            text += ",vhost=on," + vhosts.key + "=" + vhosts.value;
        }
        return text;
    }
    std::string text = "user,id=" + id;
    if (network.restricted) text += ",restrict=on";
    for (const auto& rule : forwards_of(network)) text += ",hostfwd=" + escape_option(rule);
    return text;
}

NicFdNames nic_fd_names(const spec::Network& network, std::size_t taps, std::size_t vhosts) {
    const auto id = netdev_id(network);
    NicFdNames names;
    for (std::size_t i = 0; i < taps; ++i) names.taps.push_back(id + "-tap" + std::to_string(i));
    for (std::size_t i = 0; i < vhosts; ++i)
        names.vhosts.push_back(id + "-vhost" + std::to_string(i));
    return names;
}

Json netdev_json(const spec::Network& network, const NicFdNames& names) {
    Json json{{"id", netdev_id(network)}};
    if (spec::has_tap(network)) {
        json["type"] = "tap";
        const auto taps = queue_option("fd", names.taps);
        json[taps.key] = taps.value;
        if (names.vhosts.empty()) return json;
        json["vhost"] = true;
        const auto vhosts = queue_option("vhostfd", names.vhosts);
        json[vhosts.key] = vhosts.value;
        return json;
    }
    json["type"] = "user";
    if (network.restricted) json["restrict"] = true;
    auto rules = Json::array();
    for (auto& rule : forwards_of(network)) rules.push_back(Json{{"str", std::move(rule)}});
    if (!rules.empty()) json["hostfwd"] = std::move(rules);
    return json;
}

TakenPlaces taken_places(const Json& pci) {
    TakenPlaces places;
    if (!pci.is_array()) return places;
    for (const auto& bus : pci) take_places(list_in(bus, "devices"), places);
    return places;
}

}  // namespace noxsup::launch
