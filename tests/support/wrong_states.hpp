// Records of VMs that are wrong by what they say, though their checksum is right.
#pragma once

#include <string>
#include <vector>

#include "supervisor/base/json.hpp"

namespace noxsup::test {

struct WrongState {
    std::string what;  ///< for messages
    std::string text;  ///< of meta.json
};

/// More than 200, each made of the good file by one change.
std::vector<WrongState> wrong_states(const Json& good_file);

}  // namespace noxsup::test
