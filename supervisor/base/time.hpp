// Wall-clock time as text.
#pragma once

#include <string>

namespace noxsup {

/// Now in UTC as RFC 3339 with seconds: "2025-01-31T12:00:00Z".
std::string rfc3339_now();

}  // namespace noxsup
