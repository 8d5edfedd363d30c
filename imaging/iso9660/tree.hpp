// The files of an image as a checked tree, each with the three names it is recorded under.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "imaging/iso9660/writer.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging::iso9660 {

/// A file or directory; node 0 is the root and its own parent.
struct Node {
    std::string name;         ///< as given; empty for the root
    std::string short_name;   ///< ECMA-119 identifier; one zero byte for the root
    std::string joliet_name;  ///< UCS-2 big-endian; one zero byte for the root
    std::string_view data;
    bool directory = false;
    bool declared = false;      ///< an entry of its own, not only somebody's parent
    std::uint32_t mode = 0555;  ///< permission bits
    std::size_t parent = 0;
    std::uint32_t subdirectories = 0;
    std::vector<std::size_t> children;  ///< by name, so that the order of the input does not matter
};

/// Checks every entry and builds the tree. Errors as of make_image.
Result<std::vector<Node>> build_tree(const std::vector<Entry>& entries);

}  // namespace noxsup::imaging::iso9660
