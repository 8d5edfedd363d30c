// Random trees of files with nasty but legal names, for the proofs of the ISO writer.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "imaging/iso9660/writer.hpp"

namespace noxsup::test {

/// A tree: files by path, and directories (also those that hold something).
struct IsoTree {
    std::map<std::string, std::string> files;
    std::vector<std::string> directories;

    /// Borrows from this tree.
    [[nodiscard]] std::vector<imaging::iso9660::Entry> entries() const;
    /// Every path, files and directories, sorted.
    [[nodiscard]] std::vector<std::string> paths() const;
};

/// The same seed gives the same tree. Mostly few small files; every 50th has a directory of
/// hundreds. Names are in Unicode's normal form C, since libarchive composes what it reads.
IsoTree random_iso_tree(std::uint64_t seed);

}  // namespace noxsup::test
