// The three names a file has: Joliet's in UCS-2, Rock Ridge's as given, and the short one of
// ECMA-119.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "supervisor/base/result.hpp"

namespace noxsup::imaging::iso9660 {

/// A name as Joliet records it: UCS-2, big-endian, at most 64 characters, which are the 128
/// bytes of the Joliet specification. Errors: invalid_argument saying which rule the name breaks.
/// @pre `name` is one part of a path, without '/'
Result<std::string> joliet_name(std::string_view name);

/// Gives the entries of one directory their identifiers of interchange level 1
/// (ECMA-119 7.5, 7.6, 10.1): 8.3 of `A-Z 0-9 _`, each unique with and without its `;1`. The order
/// of calls decides who gets a number.
class ShortNames {
  public:
    /// "USER_DAT.;1" for a file, "NETWORK_" for a directory.
    std::string unique(std::string_view name, bool directory);

  private:
    std::set<std::string> used_;
    std::map<std::string, unsigned> next_;
};

}  // namespace noxsup::imaging::iso9660
