#include "supervisor/spec/cards.hpp"

#include <algorithm>
#include <string>

#include "supervisor/base/text.hpp"

namespace noxsup::spec {
namespace {

std::optional<unsigned> lowest_free(const std::set<unsigned>& used, unsigned count) {
    for (unsigned place = 0; place < count; ++place) {
        if (!used.contains(place)) return place;
    }
    return std::nullopt;
}

std::string lower(std::string_view text) {
    std::string result(text);
    for (auto& c : result) {
        if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
    }
    return result;
}

}  // namespace

std::optional<unsigned> free_slot(const std::vector<Network>& networks,
                                  const std::set<unsigned>& taken) {
    auto used = taken;
    for (const auto& network : networks) used.insert(network.slot);
    return lowest_free(used, max_networks);
}

std::optional<unsigned> free_spare_port(const std::vector<Network>& networks,
                                        const std::set<unsigned>& taken) {
    auto used = taken;
    for (const auto& network : networks) {
        if (network.spare_port) used.insert(*network.spare_port);
    }
    return lowest_free(used, spare_ports);
}

Result<std::size_t> find_card(const std::vector<Network>& networks, std::string_view text) {
    const auto wanted = lower(text);
    const auto found = std::ranges::find_if(networks, [&wanted](const Network& network) {
        return network.mac == wanted || std::to_string(network.slot) == wanted;
    });
    if (found != networks.end()) return static_cast<std::size_t>(found - networks.begin());
    std::vector<std::string> known;
    known.reserve(networks.size());
    for (const auto& network : networks)
        known.push_back(std::to_string(network.slot) + " (" + network.mac + ")");
    return Error{ErrorCode::invalid_argument,
                 "there is no network card \"" + escape_for_terminal(text) + "\"",
                 "its number or MAC address: " + join(known, ", ")};
}

}  // namespace noxsup::spec
