// A network card as a create call asks for it, before anything is looked up or made.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "imaging/nocloud.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/spec/vm_spec.hpp"
#include "supervisor/state/config.hpp"

namespace noxsup::daemon {

struct NetworkWish {
    /// None: a bridge where there is one that can be used, else user mode.
    std::optional<spec::NetworkMode> mode;
    std::string bridge;  ///< empty: the usual one; mode macvtap: the network card
    std::string mac;     ///< empty: a random one
    std::vector<spec::Publish> publish;
    std::optional<imaging::StaticAddress> address;
    bool allow_spoofing = false;
    bool isolated = false;
    std::uint64_t rate = 0;  ///< bits a second; 0: no limit
    std::uint16_t vlan = 0;  ///< 0: as the bridge has it
};

/// Parses a text of `--network`: "user", "nat", "bridge", "bridge=NAME", or the name of a network
/// card for a macvtap on it, and behind it, separated by commas, what goes for this card alone:
/// mac=M, ip=CIDR, gateway=A, dns=A (may be repeated), publish=P (may be repeated), rate=R, vlan=N,
/// isolated, allow-spoofing. Empty: the default. Errors: invalid_argument.
Result<NetworkWish> parse_network_wish(std::string_view text);

/// The same for a card that joins others: it must say what it is connected to, and neither a
/// gateway nor DNS servers, which a guest reads from its seed at the first boot alone.
Result<NetworkWish> parse_further_network(std::string_view text);

/// The cards of a create call: `network` (a text, or a list of them), and the parameters that go
/// with the first: publish, mac, ip, gateway, dns, rate, vlan, isolated, allow_spoofing. Errors:
/// invalid_argument.
Result<std::vector<NetworkWish>> parse_network_wishes(const Json& params,
                                                      const state::Config& config);

}  // namespace noxsup::daemon
