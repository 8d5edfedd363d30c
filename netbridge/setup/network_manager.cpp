#include "netbridge/setup/network_manager.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "netbridge/setup/ini.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::netbridge::setup {
namespace {

constexpr const char* profiles = "/etc/NetworkManager/system-connections/";
constexpr const char* fix = "make the bridge by hand: nmcli connection add type bridge ...";
constexpr unsigned profile_mode = 0600;  // NetworkManager reads no other

/// Settings of [connection] that are about the network and not about the card.
constexpr std::array<std::string_view, 11> bridge_settings = {"zone",
                                                              "metered",
                                                              "mdns",
                                                              "llmnr",
                                                              "dns-over-tls",
                                                              "stable-id",
                                                              "gateway-ping-timeout",
                                                              "wait-activation-delay",
                                                              "ip-ping-addresses",
                                                              "ip-ping-timeout",
                                                              "lldp"};
/// Those that the two new profiles have of their own, or that mean nothing for them.
constexpr std::array<std::string_view, 12> card_settings = {"id",
                                                            "uuid",
                                                            "type",
                                                            "interface-name",
                                                            "autoconnect",
                                                            "autoconnect-priority",
                                                            "timestamp",
                                                            "permissions",
                                                            "read-only",
                                                            "autoconnect-retries",
                                                            "wait-device-timeout",
                                                            "multi-connect"};
constexpr std::array<std::string_view, 5> bridge_sections = {"ipv4", "ipv6", "proxy", "hostname",
                                                             "user"};
constexpr std::array<std::string_view, 6> card_sections = {
    "ethernet", "802-3-ethernet", "ethtool", "link", "tc", "match"};

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& list, std::string_view word) {
    return std::ranges::find(list, word) != list.end();
}

/// The card's profile, sorted out.
struct Settings {
    std::string connection;  ///< further lines of the bridge's [connection]
    std::string mtu;         ///< a line of its [ethernet]
    std::string bridge;      ///< its other sections
    std::string card;        ///< the sections that stay with the card
    bool has_ethernet = false;
};

Error refusal(const NetworkManagerFacts& facts, const std::string& what) {
    return {ErrorCode::wrong_state, facts.file + ": " + what, fix};
}

Result<> take_connection(const IniSection& section, const NetworkManagerFacts& facts,
                         Settings& settings) {
    if (const auto type = section.value("type");
        type && *type != "ethernet" && *type != "802-3-ethernet") {
        return refusal(facts, "a profile of type " + *type + " cannot be moved to a bridge");
    }
    for (const auto& line : section.lines) {
        if (line.key.empty() || contains(card_settings, line.key)) continue;
        if (!contains(bridge_settings, line.key)) {
            return refusal(facts, "noxsup does not know how to move \"" + line.key +
                                      "\" of [connection] to a bridge");
        }
        settings.connection += line.text + "\n";
    }
    return {};
}

Result<Settings> sort_out(const NetworkManagerFacts& facts) {
    Settings settings;
    NOXSUP_TRY_VALUE(const auto sections, parse_ini(facts.text, facts.file));
    for (const auto& section : sections) {
        if (section.name == "connection") {
            NOXSUP_TRY(take_connection(section, facts, settings));
        } else if (contains(bridge_sections, section.name)) {
            if (section.value("method") == "shared") {
                return refusal(facts,
                               "the card shares its host's connection with others (method=shared)");
            }
            settings.bridge += "\n[" + section.name + "]\n" + section.text();
        } else if (contains(card_sections, section.name)) {
            settings.card += "\n[" + section.name + "]\n" + section.text();
            settings.has_ethernet = settings.has_ethernet || section.name.ends_with("ethernet");
            if (const auto mtu = section.value("mtu")) settings.mtu = "mtu=" + *mtu + "\n";
        } else {
            return refusal(facts,
                           "noxsup does not know how to move [" + section.name + "] to a bridge");
        }
    }
    return settings;
}

FileChange profile(const std::string& name, std::string text) {
    FileChange change;
    change.path = profiles + name + ".nmconnection";
    change.after.bytes = std::move(text);
    change.after.mode = profile_mode;
    return change;
}

std::string bridge_profile(const BridgeWish& wish, const ProfileIds& ids, const Settings& from) {
    const auto mac = wish.mac.to_string();
    return "# Made by: noxsup network setup " + wish.card + "\n[connection]\nid=noxsup-" +
           wish.bridge + "\nuuid=" + ids.bridge + "\ntype=bridge\ninterface-name=" + wish.bridge +
           "\nautoconnect=true\nautoconnect-slaves=1\n" + from.connection +
           "\n[ethernet]\ncloned-mac-address=" + mac + "\n" + from.mtu +
           "\n[bridge]\nmac-address=" + mac + "\nstp=false\nforward-delay=0\n" + from.bridge;
}

std::string port_profile(const BridgeWish& wish, const ProfileIds& ids, const Settings& from) {
    return "# Made by: noxsup network setup " + wish.card + "\n[connection]\nid=noxsup-" +
           wish.bridge + "-port\nuuid=" + ids.port +
           "\ntype=ethernet\ninterface-name=" + wish.card +
           "\nautoconnect=true\nautoconnect-priority=999\nmaster=" + ids.bridge +
           "\nslave-type=bridge\n" + (from.has_ethernet ? "" : "\n[ethernet]\n") + from.card +
           "\n[bridge-port]\n";
}

/// The value behind "KEY:" in what nmcli --terse writes.
std::string field(const std::string& told, std::string_view key) {
    for (const auto& line : split(told, '\n')) {
        if (line.starts_with(key) && line.size() > key.size() && line[key.size()] == ':')
            return line.substr(key.size() + 1);
    }
    return {};
}

}  // namespace

Result<NetworkManagerFacts> read_network_manager(Host& host, const std::string& card) {
    NetworkManagerFacts facts;
    const auto told = host.run({"nmcli", "--terse", "--escape", "no", "--fields",
                                "GENERAL.STATE,GENERAL.CON-UUID", "device", "show", card});
    if (!told) return facts;
    const auto state = field(*told, "GENERAL.STATE");  // "100 (connected)"
    std::from_chars(state.data(), state.data() + state.size(), facts.state);
    facts.external = state.find("externally") != std::string::npos;
    if (!facts.manages()) return facts;
    facts.uuid = field(*told, "GENERAL.CON-UUID");
    NOXSUP_TRY_VALUE(const auto listed, host.run({"nmcli", "--terse", "--escape", "no", "--fields",
                                                  "UUID,FILENAME", "connection", "show"}));
    facts.file = field(listed, facts.uuid);
    if (!facts.file.ends_with(".nmconnection")) {
        return Error{ErrorCode::wrong_state,
                     "NetworkManager's profile of " + card + " is in no keyfile" +
                         (facts.file.empty() ? "" : ": " + facts.file),
                     "nmcli connection migrate " + facts.uuid};
    }
    NOXSUP_TRY_VALUE(const auto image, host.read(facts.file));
    if (!image) {
        return Error{ErrorCode::unreadable_file, facts.file + " is not there",
                     "nmcli connection show"};
    }
    facts.text = image->bytes;
    return facts;
}

Result<Plan> plan_network_manager(const BridgeWish& wish, const NetworkManagerFacts& facts,
                                  const ProfileIds& ids) {
    NOXSUP_TRY_VALUE(const auto settings, sort_out(facts));
    Plan plan;
    plan.manager = Manager::network_manager;
    plan.card = wish.card;
    plan.bridge = wish.bridge;
    const auto name = "noxsup-" + wish.bridge;
    plan.files.push_back(profile(name, bridge_profile(wish, ids, settings)));
    plan.files.push_back(profile(name + "-port", port_profile(wish, ids, settings)));
    plan.after = {{{"nmcli", "connection", "load", plan.files[0].path, plan.files[1].path}, false},
                  {{"nmcli", "--wait", "60", "connection", "up", "uuid", ids.bridge}, false}};
    plan.undo_before = {{{"nmcli", "connection", "delete", "uuid", ids.port, ids.bridge}, true}};
    plan.undo_after = {
        {{"nmcli", "connection", "reload"}, true},
        {{"ip", "link", "delete", "dev", wish.bridge}, true},
        {{"nmcli", "--wait", "60", "connection", "up", "uuid", facts.uuid, "ifname", wish.card},
         false}};
    return plan;
}

}  // namespace noxsup::netbridge::setup
