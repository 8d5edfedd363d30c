// Files of the repository that tests read.
#pragma once

#include <filesystem>
#include <string>

namespace noxsup::test {

/// @param name relative to the top of the repository. One function knows where that is, so that
/// what is compiled in one clone is the same in another (ccache).
std::filesystem::path source_file(const std::string& name);

}  // namespace noxsup::test
