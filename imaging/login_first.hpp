// The login ahead of cloud-init: what a guest needs for ssh, as files on the seed that a unit of
// the guest's systemd puts in place within its first seconds, while cloud-init does its work behind
// it.
//
// Guests that cannot do so (no systemd 256 or newer, no netplan, no SMBIOS) never look at these
// files, and cloud-init has its usual place in their boot. supervisor/launch/guest_units.hpp has
// the units.
#pragma once

#include <vector>

#include "imaging/nocloud.hpp"

namespace noxsup::imaging {

/// A shell script (`noxsup/login`) and the values it puts in place, each in a file of its own: no
/// value is ever part of a program. The files of network cards are systemd.network(5).
/// @pre the spec is one that make_seed() takes
std::vector<LoginFile> login_files(const SeedSpec& spec);

}  // namespace noxsup::imaging
