// The login ahead of cloud-init: what a guest needs for ssh, as a program on the seed by which a
// unit of the guest's systemd puts it in place within its first seconds, while cloud-init does its
// work behind it.
//
// Guests that cannot do so (no systemd 256 or newer, no netplan, no SMBIOS) never look at it, and
// cloud-init has its usual place in their boot. supervisor/launch/guest_units.hpp has the units.
#pragma once

#include <cstddef>
#include <vector>

#include "imaging/nocloud.hpp"

namespace noxsup::imaging {

/// The values, each for a file of its own. Those of network cards are systemd.network(5).
/// @pre the spec is one that make_seed() takes
std::vector<LoginFile> login_files(const SeedSpec& spec);

/// That of one card (systemd.network(5)). @param index of the card among those of its VM
LoginFile network_file(const SeedNetwork& network, std::size_t index);

/// A shell script that writes the values to their files and puts them in place. It needs no
/// argument. The seed has it as one file, for each takes a sector of the ISO image at the least.
std::string login_program(const std::vector<LoginFile>& files);

}  // namespace noxsup::imaging
