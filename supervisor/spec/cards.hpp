// The network cards of a VM: which places are free for another one, and which card a user means.
#pragma once

#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "supervisor/base/result.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::spec {

/// The lowest slot that no card has and that is not among `taken`; nothing when all are in use.
std::optional<unsigned> free_slot(const std::vector<Network>& networks,
                                  const std::set<unsigned>& taken = {});

/// The same for the root ports of cards that come while the VM runs.
std::optional<unsigned> free_spare_port(const std::vector<Network>& networks,
                                        const std::set<unsigned>& taken = {});

/// The index of the card that `text` names: by its MAC address, in either case, or by its number
/// (its slot, as `status` shows it). Errors: invalid_argument with the cards there are.
Result<std::size_t> find_card(const std::vector<Network>& networks, std::string_view text);

}  // namespace noxsup::spec
