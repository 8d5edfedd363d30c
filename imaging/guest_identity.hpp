// What a guest that runs is told when it becomes a template's, and when a copy of it becomes a VM:
// the identity that a boot would have given it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "imaging/nocloud.hpp"

namespace noxsup::imaging {

/// Of the agreement between settle_orders() and identity_orders(): what one release has settled the
/// next may not be understood by.
inline constexpr int identity_version = 2;

/// A shell script after which nothing of what the boot has read from the disk is cached but what
/// running programs use. It waits until the boot has ended.
std::string forget_boot_orders();

/// A shell script after which a guest is nobody's: its network cards are down, its seed is let go
/// of, the name by which its system is known is forgotten, and a process waits for
/// identity_orders() at the port by which this script came. It fails where the guest lacks what
/// that process needs. Its last words are the KiB of memory that the guest has free.
/// @param user the login that copies have, which is the guest's own
/// @param macs of its network cards, in their order
std::string settle_orders(std::string_view user, const std::vector<std::string>& macs);

/// What of an identity is not in the seed.
struct IdentityFacts {
    std::string clock;    ///< seconds since 1970, with a fraction: "1764230000.123"
    std::string entropy;  ///< for the guest's random numbers; a text, new for each guest
    /// Of each network card: what it is in the template ("52:54:00:12:34:56"), what it becomes.
    std::vector<std::pair<std::string, std::string>> macs;
};

/// What a copy of such a guest is sent to be the VM that the seed describes, statements of Perl:
/// its clock, random numbers, machine id, host key, login keys and name are its own before its
/// network cards are up again, its password and cloud-init's mark of its instance before it
/// answers. What cloud-init did at the template's boot is not done again. @pre the seed has the
/// values of a first login (Seed::login)
std::string identity_orders(const Seed& seed, const IdentityFacts& facts);

/// A string literal of Perl that means exactly these bytes, on a single line.
std::string perl_quoted(std::string_view text);

}  // namespace noxsup::imaging
