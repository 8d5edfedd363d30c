#include "netbridge/setup/choose.hpp"

#include <algorithm>
#include <filesystem>

#include "supervisor/base/random.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::netbridge::setup {
namespace {

constexpr const char* without_bridge =
    "without a bridge of that kind: noxsup create NAME --network user, which needs nothing of the "
    "LAN";

Error refuse(std::string what, std::string fix, ErrorCode code = ErrorCode::wrong_state) {
    return {code, std::move(what), std::move(fix)};
}

const Candidate* find(const std::vector<Candidate>& candidates, std::string_view name) {
    const auto found = std::ranges::find_if(
        candidates, [&](const Candidate& device) { return device.link.name == name; });
    return found == candidates.end() ? nullptr : &*found;
}

std::string names_of(const std::vector<const Candidate*>& devices) {
    std::vector<std::string> names;
    names.reserve(devices.size());
    for (const auto* device : devices) names.push_back(device->link.name);
    return names.empty() ? "none" : join(names, ", ");
}

std::vector<const Candidate*> cards_of(const std::vector<Candidate>& candidates) {
    std::vector<const Candidate*> cards;
    for (const auto& device : candidates) {
        if (device.is_card() && device.link.up && device.link.master == 0) cards.push_back(&device);
    }
    return cards;
}

Error refuse_wireless(const std::string& name) {
    return refuse(
        name +
            " is a Wi-Fi interface, which cannot be a bridge's port: an access point takes "
            "frames of its own stations alone, and VMs are none",
        without_bridge);
}

Result<const Candidate*> choose_one(const std::vector<Candidate>& candidates) {
    const auto cards = cards_of(candidates);
    if (cards.size() == 1) return cards.front();
    if (cards.empty()) {
        const auto wireless = std::ranges::find_if(candidates, &Candidate::wireless);
        if (wireless != candidates.end()) return refuse_wireless(wireless->link.name);
        return refuse("this host has no wired network interface that is up", without_bridge);
    }
    return refuse("there are several wired interfaces: " + names_of(cards),
                  "name one: noxsup network setup " + cards.front()->link.name,
                  ErrorCode::invalid_argument);
}

const Candidate* by_index(const std::vector<Candidate>& candidates, int index) {
    const auto found = std::ranges::find_if(
        candidates, [&](const Candidate& device) { return device.link.index == index; });
    return found == candidates.end() ? nullptr : &*found;
}

Result<> check_card(const std::vector<Candidate>& candidates, const Candidate& card) {
    const auto& link = card.link;
    if (link.kind == "bridge") {
        return refuse(link.name + " is a bridge already",
                      "VMs can use it: noxsup create NAME --network bridge=" + link.name);
    }
    if (link.master != 0) {
        const auto* master = by_index(candidates, link.master);
        const auto name = master == nullptr ? "another device" : master->link.name;
        if (master != nullptr && master->link.kind == "bridge") {
            return refuse(link.name + " is a port of the bridge " + name + " already",
                          "VMs can use that one: noxsup create NAME --network bridge=" + name);
        }
        return refuse(link.name + " belongs to " + name + " already",
                      "take it out of there first: sudo ip link set " + link.name + " nomaster");
    }
    if (card.wireless) return refuse_wireless(link.name);
    if (!card.is_card()) {
        const auto kind = link.kind.empty() ? "no Ethernet card" : "a device of kind " + link.kind;
        return refuse(link.name + " is " + kind + ", which noxsup makes no bridge of",
                      "name a wired card (" + names_of(cards_of(candidates)) +
                          "), or make the bridge by hand");
    }
    if (!card.uppers.empty()) {
        return refuse(link.name + " carries other devices: " + join(card.uppers, ", "),
                      "make the bridge by hand, for they would have to move with it");
    }
    return {};
}

std::string manager_list(const std::vector<Manager>& managers) {
    std::vector<std::string> names;
    names.reserve(managers.size());
    for (const auto manager : managers) names.emplace_back(manager_name(manager));
    return join(names, " and ");
}

}  // namespace

bool Candidate::is_card() const {
    return !wireless && (link.kind.empty() || link.kind == "veth") && !link.mac.is_zero();
}

Result<std::vector<Candidate>> read_candidates(KernelNetwork& kernel, const KernelViews& views) {
    NOXSUP_TRY_VALUE(auto links, kernel.links());
    std::vector<Candidate> candidates;
    for (auto& link : links) {
        Candidate device;
        device.wireless = is_wireless(link.name, views);
        std::error_code failure;
        constexpr std::string_view upper = "upper_";
        const auto directory = views.sys / "class/net" / link.name;
        for (const auto& entry : std::filesystem::directory_iterator(directory, failure)) {
            const auto name = entry.path().filename().string();
            // The bridge or bond that it belongs to is one as well.
            if (name.starts_with(upper) && link.master == 0)
                device.uppers.push_back(name.substr(upper.size()));
        }
        std::ranges::sort(device.uppers);
        device.link = std::move(link);
        candidates.push_back(std::move(device));
    }
    return candidates;
}

Result<Link> choose_card(const std::vector<Candidate>& candidates, const std::string& name,
                         const std::string& bridge) {
    if (const auto* there = find(candidates, bridge)) {
        if (there->link.kind == "bridge") {
            return refuse("there is a bridge " + bridge + " already",
                          "VMs can use it: noxsup create NAME --network bridge=" + bridge +
                              "; another one is made with --bridge NAME",
                          ErrorCode::already_exists);
        }
        return refuse("there is a network device " + bridge + " already, which is no bridge",
                      "choose another name: --bridge NAME", ErrorCode::already_exists);
    }
    const Candidate* card = nullptr;
    if (name.empty()) {
        NOXSUP_TRY_VALUE(card, choose_one(candidates));
    } else {
        card = find(candidates, name);
        if (card == nullptr) {
            return refuse("there is no network interface " + name,
                          "wired ones that are up: " + names_of(cards_of(candidates)),
                          ErrorCode::invalid_argument);
        }
    }
    NOXSUP_TRY(check_card(candidates, *card));
    return card->link;
}

Result<ManagerFacts> read_managers(Host& host, const std::string& card, int card_index) {
    ManagerFacts facts;
    NOXSUP_TRY_VALUE(facts.networkd, read_networkd(host, card, card_index));
    NOXSUP_TRY_VALUE(facts.ifupdown, read_ifupdown(host, card));
    NOXSUP_TRY_VALUE(facts.network_manager, read_network_manager(host, card));
    return facts;
}

std::vector<Manager> managers_of(const ManagerFacts& facts) {
    std::vector<Manager> managers;
    if (facts.networkd.manages()) managers.push_back(Manager::networkd);
    if (facts.ifupdown.manages()) managers.push_back(Manager::ifupdown);
    if (facts.network_manager.manages()) managers.push_back(Manager::network_manager);
    return managers;
}

Result<Plan> make_plan(const BridgeWish& wish, const ManagerFacts& facts, const ProfileIds& ids) {
    const auto managers = managers_of(facts);
    if (managers.empty()) {
        return refuse("neither systemd-networkd, ifupdown nor NetworkManager configures " +
                          wish.card + " now",
                      "let one of them bring it up first, or make the bridge by hand: sudo ip link "
                      "add " +
                          wish.bridge + " type bridge");
    }
    if (managers.size() > 1) {
        return refuse(wish.card + " is configured by " + manager_list(managers) + " at once",
                      "leave it to one of them, then try again");
    }
    switch (managers.front()) {
        case Manager::networkd:
            return plan_networkd(wish, facts.networkd);
        case Manager::ifupdown:
            return plan_ifupdown(wish, facts.ifupdown);
        case Manager::network_manager:
            break;
    }
    return plan_network_manager(wish, facts.network_manager, ids);
}

Result<InterfaceName> plain_name(std::string_view text) {
    NOXSUP_TRY_VALUE(auto name, InterfaceName::parse(text));
    constexpr auto allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    if (text.find_first_not_of(allowed) != std::string_view::npos || text.front() == '-') {
        return refuse("\"" + escape_for_terminal(text) +
                          "\" holds characters that mean something in configuration files",
                      "letters, digits, '.', '_' and '-' are fine", ErrorCode::invalid_argument);
    }
    return name;
}

Result<Plan> plan_bridge(Host& host, KernelNetwork& kernel, const std::string& card,
                         const std::string& bridge) {
    NOXSUP_TRY(plain_name(bridge));
    NOXSUP_TRY_VALUE(const auto candidates, read_candidates(kernel));
    NOXSUP_TRY_VALUE(const auto link, choose_card(candidates, card, bridge));
    NOXSUP_TRY(plain_name(link.name));
    NOXSUP_TRY_VALUE(const auto facts, read_managers(host, link.name, link.index));
    const ProfileIds ids{random_uuid(), random_uuid()};
    NOXSUP_TRY_VALUE(auto plan, make_plan({link.name, bridge, link.mac}, facts, ids));
    for (const auto& change : plan.files) {
        if (change.before) continue;
        NOXSUP_TRY_VALUE(const auto there, host.read(change.path));
        if (there) {
            return refuse(change.path + " is there already", "remove it if nothing needs it",
                          ErrorCode::already_exists);
        }
    }
    return plan;
}

}  // namespace noxsup::netbridge::setup
