#include "supervisor/daemon/nat_state.hpp"

#include <algorithm>

#include "supervisor/base/file.hpp"

namespace noxsup::daemon {
namespace {

using netbridge::NatSubnet;

constexpr unsigned state_version = 1;
constexpr std::size_t max_state_bytes = std::size_t{1} << 20;

bool can_be_kept(std::uint8_t last) {
    return last >= NatSubnet::first_reserved && last <= NatSubnet::last_reserved;
}

/// The first one behind `after`, round and round, that is none of `taken`.
std::optional<std::uint8_t> next_free(std::uint8_t after, const std::set<std::uint8_t>& taken) {
    constexpr unsigned count = NatSubnet::last_reserved - NatSubnet::first_reserved + 1U;
    const unsigned begin = can_be_kept(after) ? after - NatSubnet::first_reserved + 1U : 0U;
    for (unsigned i = 0; i < count; ++i) {
        const auto last =
            static_cast<std::uint8_t>(NatSubnet::first_reserved + (begin + i) % count);
        if (!taken.contains(last)) return last;
    }
    return std::nullopt;
}

}  // namespace

Json to_json(const NatState& state) {
    return {{"version", state_version},
            {"subnet", state.subnet ? Json(state.subnet->to_string()) : Json()},
            {"hosts", state.hosts},
            {"last_given", state.last_given},
            {"forwarding", state.forwarding},
            {"boot_id", state.boot_id},
            {"dnsmasq", state.dnsmasq ? launch::to_json(*state.dnsmasq) : Json()},
            {"bridge_index", state.bridge_index}};
}

Result<NatState> nat_state_from_json(const Json& json) {
    NatState state;
    NOXSUP_TRY_VALUE(const auto version, json_member<unsigned>(json, "version"));
    if (version != state_version)
        return Error{ErrorCode::protocol_error, "version " + std::to_string(version)};
    NOXSUP_TRY_VALUE(const auto subnet, json_member_or<std::string>(json, "subnet", ""));
    if (!subnet.empty()) {
        NOXSUP_TRY_VALUE(state.subnet, NatSubnet::parse(subnet));
    }
    NOXSUP_TRY_VALUE(const auto hosts, json_member_or<Json>(json, "hosts", Json::object()));
    for (const auto& [mac, value] : hosts.items()) {
        NOXSUP_TRY_VALUE(const auto parsed, netbridge::MacAddress::parse(mac));
        NOXSUP_TRY_VALUE(const auto last, json_member<std::uint8_t>(hosts, mac));
        if (can_be_kept(last)) state.hosts[parsed.to_string()] = last;
    }
    NOXSUP_TRY_VALUE(state.last_given,
                     json_member_or<std::uint8_t>(json, "last_given", state.last_given));
    NOXSUP_TRY_VALUE(state.forwarding,
                     json_member_or<std::vector<std::string>>(json, "forwarding", {}));
    NOXSUP_TRY_VALUE(state.boot_id, json_member_or<std::string>(json, "boot_id", ""));
    NOXSUP_TRY_VALUE(const auto dnsmasq, json_member_or<Json>(json, "dnsmasq", Json()));
    if (!dnsmasq.is_null()) {
        NOXSUP_TRY_VALUE(state.dnsmasq, launch::identity_from_json(dnsmasq));
    }
    NOXSUP_TRY_VALUE(state.bridge_index, json_member_or<int>(json, "bridge_index", 0));
    return state;
}

Result<NatState> load_nat_state(const std::filesystem::path& path) {
    std::error_code failure;
    if (!std::filesystem::exists(path, failure)) return NatState();
    NOXSUP_TRY_VALUE(const auto text, read_file(path, max_state_bytes));
    NOXSUP_TRY_VALUE(const auto json, parse_json(text));
    return nat_state_from_json(json);
}

Result<> save_nat_state(const std::filesystem::path& path, const NatState& state) {
    return write_file_atomic(path, dump_json(to_json(state)) + "\n", 0600);
}

void reserve_addresses(NatState& state, const std::vector<NatGuest>& guests,
                       const std::set<std::uint8_t>& leased) {
    std::erase_if(state.hosts, [&](const auto& host) {
        return std::ranges::none_of(guests,
                                    [&](const NatGuest& guest) { return guest.mac == host.first; });
    });
    std::set<std::uint8_t> kept;
    for (const auto& [mac, last] : state.hosts) kept.insert(last);
    for (const auto& guest : guests) {
        if (state.hosts.contains(guest.mac)) continue;
        auto unwanted = kept;
        unwanted.insert(leased.begin(), leased.end());
        auto last = next_free(state.last_given, unwanted);
        if (!last) last = next_free(state.last_given, kept);
        if (!last) return;
        state.hosts[guest.mac] = *last;
        state.last_given = *last;
        kept.insert(*last);
    }
}

std::vector<netbridge::NatHost> nat_hosts(const NatState& state,
                                          const std::vector<NatGuest>& guests) {
    std::vector<netbridge::NatHost> hosts;
    for (const auto& guest : guests) {
        const auto found = state.hosts.find(guest.mac);
        const auto mac = netbridge::MacAddress::parse(guest.mac);
        if (found == state.hosts.end() || !mac) continue;
        hosts.push_back({guest.name, *mac, state.subnet->host(found->second)});
    }
    std::ranges::sort(hosts, {}, &netbridge::NatHost::name);
    return hosts;
}

}  // namespace noxsup::daemon
