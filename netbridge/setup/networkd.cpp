#include "netbridge/setup/networkd.hpp"

#include <algorithm>
#include <array>
#include <map>

#include "netbridge/setup/ini.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::netbridge::setup {
namespace {

/// Where .network files and their drop-ins live; an earlier one hides later ones of the same name.
constexpr std::array<const char*, 4> directories = {"/etc/systemd/network", "/run/systemd/network",
                                                    "/usr/local/lib/systemd/network",
                                                    "/usr/lib/systemd/network"};

/// Sections about addresses, routes and leases: they go to the bridge as they are.
constexpr std::array<std::string_view, 19> moved = {"Network",
                                                    "Address",
                                                    "Route",
                                                    "DHCP",
                                                    "DHCPv4",
                                                    "DHCPv6",
                                                    "IPv6AcceptRA",
                                                    "DHCPv6PrefixDelegation",
                                                    "DHCPPrefixDelegation",
                                                    "IPv6SendRA",
                                                    "IPv6Prefix",
                                                    "IPv6RoutePrefix",
                                                    "IPv6PREF64Prefix",
                                                    "RoutingPolicyRule",
                                                    "NextHop",
                                                    "Neighbor",
                                                    "IPv6AddressLabel",
                                                    "DHCPServer",
                                                    "DHCPServerStaticLease"};

/// Settings of [Network] that hang other devices on the card, or the card on another.
constexpr std::array<std::string_view, 11> attachments = {
    "Bridge", "Bond",   "VRF",   "VLAN",   "MACVLAN",       "MACVTAP",
    "IPVLAN", "IPVTAP", "VXLAN", "Tunnel", "BatmanAdvanced"};

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& list, std::string_view word) {
    return std::ranges::find(list, word) != list.end();
}

std::string base_name(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}

/// The card's file and drop-ins, sorted out.
struct Settings {
    std::string link;                  ///< lines of [Link] that stay with the card
    std::string bridge_link;           ///< and those that are the bridge's
    std::vector<IniSection> sections;  ///< the bridge's
};

void take_link(const IniSection& section, Settings& settings) {
    for (const auto& line : section.lines) {
        if (line.key.empty()) continue;
        if (line.key == "Unmanaged") continue;
        const bool off = line.key == "RequiredForOnline" && line.value == "no";
        const bool both = line.key == "MTUBytes" || off;
        const bool about_online = line.key.starts_with("Required");
        if (both || !about_online) settings.link += line.text + "\n";
        if (both || about_online) settings.bridge_link += line.text + "\n";
    }
}

Result<Settings> sort_out(const NetworkdFacts& facts) {
    Settings settings;
    const auto refuse = [&](const std::string& what) {
        return Error{ErrorCode::wrong_state, facts.file + ": " + what,
                     "make the bridge by hand in the files of systemd-networkd"};
    };
    for (const auto& text : facts.texts) {
        NOXSUP_TRY_VALUE(auto sections, parse_ini(text, facts.file));
        for (auto& section : sections) {
            if (section.name == "Match") continue;
            if (section.name == "Link") {
                take_link(section, settings);
                continue;
            }
            if (!contains(moved, section.name)) {
                return refuse("noxsup does not know how to move [" + section.name +
                              "] to a bridge");
            }
            for (const auto& line : section.lines) {
                if (section.name == "Network" && contains(attachments, line.key)) {
                    return refuse(line.key + "=" + line.value +
                                  " ties the card to another device already");
                }
            }
            settings.sections.push_back(std::move(section));
        }
    }
    return settings;
}

/// A beginning of names that sort before the card's own file, so that ours win.
Result<std::string> prefix_before(const std::string& file) {
    for (const auto* prefix : {"05-noxsup-", "00-noxsup-", "00-00-noxsup-"}) {
        if (prefix < base_name(file)) return std::string(prefix);
    }
    return Error{ErrorCode::wrong_state,
                 "no file of noxsup's would come before " + file + " in systemd-networkd's order",
                 "give it a name that begins with a higher number, as 50-wired.network"};
}

std::string bridge_network(const BridgeWish& wish, const NetworkdFacts& facts,
                           const Settings& settings) {
    std::string text =
        "# Made by: noxsup network setup " + wish.card + "\n[Match]\nName=" + wish.bridge + "\n";
    if (!settings.bridge_link.empty()) text += "\n[Link]\n" + settings.bridge_link;
    bool has_network = false;
    bool has_iaid = false;
    for (const auto& section : settings.sections) {
        text += "\n[" + section.name + "]\n" + section.text();
        has_network = has_network || section.name == "Network";
        has_iaid = has_iaid || (section.name == "DHCPv4" && section.value("IAID"));
    }
    if (!has_network) text += "\n[Network]\n";
    if (facts.dhcp_iaid && !has_iaid) {
        text +=
            "\n# The server knows the card by this, and gives the bridge the same lease.\n"
            "[DHCPv4]\nIAID=" +
            std::to_string(*facts.dhcp_iaid) + "\n";
    }
    return text;
}

FileChange new_file(std::string path, std::string text) {
    FileChange change;
    change.path = std::move(path);
    change.after.bytes = std::move(text);
    return change;
}

Result<std::vector<std::string>> read_drop_ins(Host& host, const std::string& name) {
    std::map<std::string, std::string> found;  // by name, with the directory that wins
    for (const auto* directory : directories) {
        const auto below = std::string(directory) + "/" + name + ".d";
        for (const auto& entry : host.list(below)) {
            if (entry.ends_with(".conf")) found.try_emplace(entry, below + "/" + entry);
        }
    }
    std::vector<std::string> texts;
    for (const auto& [entry, path] : found) {
        NOXSUP_TRY_VALUE(const auto image, host.read(path));
        if (image) texts.push_back(image->bytes);
    }
    return texts;
}

}  // namespace

std::optional<std::uint32_t> iaid_of_lease(std::string_view lease) {
    constexpr std::string_view key = "CLIENTID=ff";  // type 255, then IAID and DUID
    constexpr std::size_t digits = 8;
    for (const auto& line : split(lease, '\n')) {
        if (!line.starts_with(key) || line.size() < key.size() + digits) continue;
        const auto hex = line.substr(key.size(), digits);
        if (hex.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) continue;
        constexpr int base = 16;
        return static_cast<std::uint32_t>(std::stoul(hex, nullptr, base));
    }
    return std::nullopt;
}

Result<NetworkdFacts> read_networkd(Host& host, const std::string& card, int card_index) {
    NetworkdFacts facts;
    const auto told = host.run({"networkctl", "--json=short", "status", card});
    if (!told) return facts;
    const auto json = parse_json(trim(*told));
    if (!json) return facts;
    const auto text = [&](std::string_view key) {
        auto value = json_member_or<std::string>(*json, key, {});
        return value ? std::move(*value) : std::string();
    };
    facts.state = text("AdministrativeState");
    if (!facts.manages()) return facts;
    facts.file = text("NetworkFile");
    NOXSUP_TRY_VALUE(const auto image, host.read(facts.file));
    if (!image) {
        return Error{ErrorCode::wrong_state,
                     "systemd-networkd says that " + card + " is configured by " +
                         (facts.file.empty() ? "no file" : facts.file) + ", which is not there",
                     "networkctl status " + card};
    }
    facts.texts = {image->bytes};
    NOXSUP_TRY_VALUE(auto drop_ins, read_drop_ins(host, base_name(facts.file)));
    std::ranges::move(drop_ins, std::back_inserter(facts.texts));
    const auto lease = host.read("/run/systemd/netif/leases/" + std::to_string(card_index));
    if (lease && *lease) facts.dhcp_iaid = iaid_of_lease((*lease)->bytes);
    return facts;
}

Result<Plan> plan_networkd(const BridgeWish& wish, const NetworkdFacts& facts) {
    NOXSUP_TRY_VALUE(const auto settings, sort_out(facts));
    NOXSUP_TRY_VALUE(const auto prefix, prefix_before(facts.file));
    Plan plan;
    plan.manager = Manager::networkd;
    plan.card = wish.card;
    plan.bridge = wish.bridge;
    const auto path = directories.front() + ("/" + prefix) + wish.bridge;
    const auto made_by = "# Made by: noxsup network setup " + wish.card + "\n";
    plan.files.push_back(new_file(
        path + ".netdev", made_by + "[NetDev]\nName=" + wish.bridge + "\nKind=bridge\nMACAddress=" +
                              wish.mac.to_string() + "\n\n[Bridge]\nSTP=no\nForwardDelaySec=0\n"));
    plan.files.push_back(new_file(path + ".network", bridge_network(wish, facts, settings)));
    auto port = made_by + "[Match]\nName=" + wish.card + "\n";
    if (!settings.link.empty()) port += "\n[Link]\n" + settings.link;
    port += "\n[Network]\nBridge=" + wish.bridge + "\n";
    plan.files.push_back(new_file(path + "-port.network", std::move(port)));
    plan.after = {{{"networkctl", "reload"}, false}};
    // Without the bridge the card is free; its own file is the first that matches again.
    plan.undo_after = {{{"networkctl", "delete", wish.bridge}, true},
                       {{"networkctl", "reload"}, false},
                       {{"networkctl", "reconfigure", wish.card}, true}};
    return plan;
}

}  // namespace noxsup::netbridge::setup
