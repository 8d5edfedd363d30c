// Whether tests that have a long form take it: `scripts/test --stage long`.
#pragma once

#include <cstdlib>

namespace noxsup::test {

inline bool is_long_run() {
    return std::getenv("NOXSUP_LONG") != nullptr;
}

}  // namespace noxsup::test
