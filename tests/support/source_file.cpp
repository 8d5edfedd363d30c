#include "tests/support/source_file.hpp"

namespace noxsup::test {

std::filesystem::path source_file(const std::string& name) {
    return std::filesystem::path(NOXSUP_SOURCE_DIR) / name;
}

}  // namespace noxsup::test
