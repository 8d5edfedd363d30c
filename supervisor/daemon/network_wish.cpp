#include "supervisor/daemon/network_wish.hpp"

#include <set>

#include "netbridge/bridge.hpp"
#include "netbridge/ip_address.hpp"
#include "netbridge/mac_address.hpp"
#include "netbridge/publish.hpp"
#include "netbridge/rate.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/daemon/params.hpp"

namespace noxsup::daemon {
namespace {

using Strings = std::vector<std::string>;

/// The settings of one card as texts, wherever they came from.
struct Settings {
    Strings publish, dns;
    std::string mac, ip, gateway, rate, vlan;
    bool isolated = false, allow_spoofing = false;
};

constexpr const char* known_modes =
    "use user, nat, bridge, bridge=NAME, or the name of a network card (macvtap)";

bool has_equals(std::string_view word) {
    return word.find('=') != std::string_view::npos;
}

Error unknown(std::string_view text, const std::string& hint) {
    return {ErrorCode::invalid_argument, "--network " + escape_for_terminal(text) + " is not known",
            hint};
}

Result<> add_setting(std::string_view entry, Settings& settings) {
    const auto separator = entry.find('=');
    const auto key = entry.substr(0, separator);
    if (separator == std::string_view::npos) {
        if (key == "isolated") {
            settings.isolated = true;
        } else if (key == "allow-spoofing") {
            settings.allow_spoofing = true;
        } else {
            return unknown(entry,
                           "use mac=, ip=, gateway=, dns=, publish=, rate=, vlan=, isolated, "
                           "allow-spoofing");
        }
        return {};
    }
    const std::string value(entry.substr(separator + 1));
    if (key == "dns" || key == "publish") {
        (key == "dns" ? settings.dns : settings.publish).push_back(value);
        return {};
    }
    auto* text = key == "mac"       ? &settings.mac
                 : key == "ip"      ? &settings.ip
                 : key == "gateway" ? &settings.gateway
                 : key == "rate"    ? &settings.rate
                 : key == "vlan"    ? &settings.vlan
                                    : nullptr;
    if (text == nullptr)
        return unknown(entry, "use mac=, ip=, gateway=, dns=, publish=, rate= or vlan=");
    if (!text->empty() || value.empty()) {
        return Error{ErrorCode::invalid_argument,
                     "--network: " + std::string(key) + "= is given twice or empty"};
    }
    *text = value;
    return {};
}

/// The first word: what the card is connected to.
Result<> read_mode(std::string_view word, NetworkWish& wish) {
    if (word.empty()) return {};
    if (word == "user") {
        wish.mode = spec::NetworkMode::user;
    } else if (word == "nat") {
        wish.mode = spec::NetworkMode::nat;
    } else if (word == "bridge" || word.starts_with("bridge=")) {
        wish.mode = spec::NetworkMode::bridge;
        if (word == "bridge") return {};
        wish.bridge = word.substr(word.find('=') + 1);
        if (wish.bridge.empty()) return unknown(word, known_modes);
    } else if (const auto card = netbridge::InterfaceName::parse(word); card && !has_equals(word)) {
        wish.mode = spec::NetworkMode::macvtap;
        wish.bridge = word;
    } else {
        return unknown(word, known_modes);
    }
    return {};
}

Result<std::vector<spec::Publish>> read_publish(const Strings& texts) {
    std::vector<netbridge::PublishSpec> wanted;
    std::vector<spec::Publish> list;
    for (const auto& entry : texts) {
        NOXSUP_TRY_VALUE(const auto parsed, netbridge::parse_publish(entry));
        wanted.push_back(parsed);
        list.push_back({parsed.bind_address.to_string(), parsed.host_port, parsed.guest_port,
                        parsed.protocol == netbridge::PortProtocol::udp ? spec::Protocol::udp
                                                                        : spec::Protocol::tcp});
    }
    NOXSUP_TRY(netbridge::check_publish_list(wanted));
    return list;
}

/// The flag of the first setting that is given and wants a bridge, or nothing.
std::string bridge_flag(const NetworkWish& wish) {
    return wish.isolated         ? "--isolated"
           : wish.allow_spoofing ? "--allow-spoofing"
           : wish.rate != 0      ? "--rate"
           : wish.vlan != 0      ? "--vlan"
                                 : "";
}

/// What has a meaning only where the guest has a port of its own, or only where it has none.
Result<> check_mode(const NetworkWish& wish) {
    const auto flag = bridge_flag(wish);
    if (wish.mode == spec::NetworkMode::macvtap) {
        if (!wish.publish.empty()) {
            return Error{ErrorCode::invalid_argument, "--publish does not go with a macvtap",
                         "the host does not reach a guest over it: use --network bridge"};
        }
        if (flag.empty()) return {};
        return Error{ErrorCode::invalid_argument, flag + " goes with --network bridge only",
                     "what passes a macvtap cannot be filtered"};
    }
    if (wish.mode == spec::NetworkMode::nat) {
        if (wish.address) {
            return Error{ErrorCode::invalid_argument, "--ip goes with --network bridge only",
                         "behind --network nat each VM gets an address that it keeps"};
        }
        if (wish.vlan == 0) return {};
        return Error{ErrorCode::invalid_argument, "--vlan goes with --network bridge only",
                     "the NAT network is one of its own already"};
    }
    // A published port alone is a wish for user-mode networking.
    const bool user = wish.mode == spec::NetworkMode::user || (!wish.mode && !wish.publish.empty());
    if (!user || (flag.empty() && !wish.address)) return {};
    return Error{ErrorCode::invalid_argument,
                 (wish.address ? "--ip" : flag) + " goes with --network bridge only",
                 wish.address ? "behind --network user the guest's address is QEMU's"
                              : "behind --network user the guest has no port of its own"};
}

Result<> apply(const Settings& settings, NetworkWish& wish) {
    NOXSUP_TRY_VALUE(wish.publish, read_publish(settings.publish));
    wish.isolated = settings.isolated;
    wish.allow_spoofing = settings.allow_spoofing;
    if (!settings.rate.empty()) {
        NOXSUP_TRY_VALUE(wish.rate, netbridge::parse_rate(settings.rate));
    }
    if (!settings.vlan.empty()) {
        NOXSUP_TRY_VALUE(wish.vlan, netbridge::parse_vlan(settings.vlan));
    }
    if (!settings.mac.empty()) {
        NOXSUP_TRY_VALUE(const auto mac, netbridge::parse_guest_mac(settings.mac));
        wish.mac = mac.to_string();
    }
    NOXSUP_TRY_VALUE(const auto fixed,
                     netbridge::parse_static_network(settings.ip, settings.gateway, settings.dns));
    if (fixed) {
        auto& address = wish.address.emplace();
        address.cidr = fixed->address.to_string();
        if (fixed->gateway) address.gateway = fixed->gateway->to_string();
        for (const auto& server : fixed->dns) address.dns.push_back(server.to_string());
    }
    return check_mode(wish);
}

/// Mode and settings of one text; the settings are not applied yet.
Result<Settings> read_text(std::string_view text, NetworkWish& wish) {
    Settings settings;
    if (text.empty()) return settings;
    const auto words = split(text, ',');
    NOXSUP_TRY(read_mode(words.front(), wish));
    for (std::size_t i = 1; i < words.size(); ++i) NOXSUP_TRY(add_setting(words[i], settings));
    return settings;
}

/// What the call's own parameters say of the first card; its text must not say the same.
Result<> add_parameters(const Json& params, Settings& settings) {
    const auto add_text = [&params](const char* key, std::string& into) -> Result<> {
        NOXSUP_TRY_VALUE(auto text, parameter<std::string>(params, key, ""));
        if (text.empty()) return {};
        if (!into.empty()) {
            return Error{ErrorCode::invalid_argument,
                         std::string("--") + key + " is given twice for one network card"};
        }
        into = std::move(text);
        return {};
    };
    NOXSUP_TRY(add_text("mac", settings.mac));
    NOXSUP_TRY(add_text("ip", settings.ip));
    NOXSUP_TRY(add_text("gateway", settings.gateway));
    NOXSUP_TRY(add_text("rate", settings.rate));
    NOXSUP_TRY(add_text("vlan", settings.vlan));
    NOXSUP_TRY_VALUE(const auto dns, parameter<Strings>(params, "dns", {}));
    settings.dns.insert(settings.dns.end(), dns.begin(), dns.end());
    NOXSUP_TRY_VALUE(const auto publish, parameter<Strings>(params, "publish", {}));
    settings.publish.insert(settings.publish.end(), publish.begin(), publish.end());
    NOXSUP_TRY_VALUE(const auto isolated, parameter<bool>(params, "isolated", false));
    NOXSUP_TRY_VALUE(const auto spoofing, parameter<bool>(params, "allow_spoofing", false));
    settings.isolated = settings.isolated || isolated;
    settings.allow_spoofing = settings.allow_spoofing || spoofing;
    return {};
}

Result<Strings> network_texts(const Json& params, const state::Config& config) {
    const auto found = params.find("network");
    if (found == params.end() || found->is_string()) {
        NOXSUP_TRY_VALUE(auto text, parameter<std::string>(params, "network", config.network));
        return Strings{std::move(text)};
    }
    NOXSUP_TRY_VALUE(auto texts, parameter<Strings>(params, "network"));
    if (texts.empty() || texts.size() > spec::max_networks) {
        return Error{ErrorCode::invalid_argument, std::to_string(texts.size()) +
                                                      " networks: a VM has 1 to " +
                                                      std::to_string(spec::max_networks)};
    }
    return texts;
}

/// What is wrong between the cards of one VM.
Result<> check_together(const std::vector<NetworkWish>& wishes) {
    std::set<std::string_view> macs;
    std::size_t behind_qemu = 0;
    for (const auto& wish : wishes) {
        if (!wish.mac.empty() && !macs.insert(wish.mac).second) {
            return Error{ErrorCode::invalid_argument,
                         "two network cards have the MAC address " + wish.mac};
        }
        if (wish.mode == spec::NetworkMode::user) ++behind_qemu;
    }
    if (behind_qemu < 2) return {};
    return Error{ErrorCode::invalid_argument, "a VM has one card with --network user at the most",
                 "both would get the same subnet, which the guest cannot tell apart"};
}

}  // namespace

Result<NetworkWish> parse_network_wish(std::string_view text) {
    NetworkWish wish;
    NOXSUP_TRY_VALUE(const auto settings, read_text(text, wish));
    NOXSUP_TRY(apply(settings, wish));
    return wish;
}

Result<NetworkWish> parse_further_network(std::string_view text) {
    NOXSUP_TRY_VALUE(auto wish, parse_network_wish(text));
    if (!wish.mode) return unknown("", "name what the card is connected to");
    if (!wish.address || (!wish.address->gateway && wish.address->dns.empty())) return wish;
    return Error{ErrorCode::invalid_argument,
                 "gateway= and dns= do not go with a card that comes later",
                 "the guest reads them from its seed, at the first boot alone: set them inside it"};
}

Result<std::vector<NetworkWish>> parse_network_wishes(const Json& params,
                                                      const state::Config& config) {
    NOXSUP_TRY_VALUE(const auto texts, network_texts(params, config));
    std::vector<NetworkWish> wishes(texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
        NOXSUP_TRY_VALUE(auto settings, read_text(texts[i], wishes[i]));
        if (i == 0) NOXSUP_TRY(add_parameters(params, settings));
        NOXSUP_TRY(apply(settings, wishes[i]));
        if (i > 0 && !wishes[i].mode) return unknown("", "name what each card is connected to");
    }
    NOXSUP_TRY(check_together(wishes));
    return wishes;
}

}  // namespace noxsup::daemon
