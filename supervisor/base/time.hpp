// Wall-clock time as text.
#pragma once

#include <chrono>
#include <string>

namespace noxsup {

/// Now in UTC as RFC 3339 with seconds: "2025-01-31T12:00:00Z".
std::string rfc3339_now();

/// The same of the time so long after now.
std::string rfc3339_in(std::chrono::milliseconds later);

/// The same with milliseconds: "2025-01-31T12:00:00.123Z".
std::string rfc3339_now_millis();

}  // namespace noxsup
