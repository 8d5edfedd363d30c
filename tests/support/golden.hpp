// Comparing with files in tests/golden.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "tests/support/source_file.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::test {

/// Where they are. @param name below tests/golden: "json/vms.json"
inline std::filesystem::path golden_path(const std::string& name) {
    return source_file("tests/golden/" + name);
}

/// Compares with a golden file; NOXSUP_UPDATE_GOLDEN=1 writes it anew, for a person to look at.
inline void expect_golden(const std::string& text, const std::string& name) {
    if (std::getenv("NOXSUP_UPDATE_GOLDEN") != nullptr) {
        std::ofstream(golden_path(name), std::ios::binary) << text;
    }
    EXPECT_EQ(text, slurp(golden_path(name))) << name;
}

}  // namespace noxsup::test
