// Where everything in an image lies: both directory hierarchies, path tables, continuations and
// files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "imaging/iso9660/records.hpp"
#include "imaging/iso9660/rock_ridge.hpp"
#include "imaging/iso9660/tree.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging::iso9660 {

/// One view of the tree: the primary one with short names, or Joliet's.
struct Hierarchy {
    std::vector<std::size_t> directories;  ///< nodes in path table order (ECMA-119 6.9.1)
    std::vector<std::uint16_t> numbers;    ///< by node: its number in the path table, from 1
    std::vector<std::vector<std::size_t>> children;  ///< by node: in record order (9.3)
    std::vector<Extent> extents;                     ///< by node: of directories
    std::uint32_t path_table_bytes = 0;
    std::uint32_t path_table_l = 0;  ///< block
    std::uint32_t path_table_m = 0;
};

/// A piece of a continuation area; none crosses a sector (Linux reads one block for each).
struct Continuation {
    std::uint32_t block = 0;
    std::uint32_t offset = 0;
    std::uint32_t bytes = 0;  ///< 0 when the record has none
};

/// The whole plan. Layout of the image, in sectors of 2,048 bytes:
///
///     +----------------------+----------------------------------------------------------+
///     | 0 .. 15              | system area, zero                          (ECMA 6.2.1)  |
///     | 16                   | primary volume descriptor                  (ECMA 8.4)    |
///     | 17                   | supplementary one, Joliet                  (ECMA 8.5)    |
///     | 18                   | set terminator                             (ECMA 8.3)    |
///     | path_table_l, _m     | primary path tables, types L and M         (ECMA 9.4)    |
///     | path_table_l, _m     | Joliet's path tables, types L and M                      |
///     | extents[directory]   | primary directories, in path table order   (ECMA 9.1)    |
///     |   continuations      |   each followed by the Rock Ridge fields that found no   |
///     |                      |   room in its records                      (SUSP 5.1)    |
///     | extents[directory]   | Joliet's directories                                     |
///     | files[node].block    | files in tree order, each on a new sector                |
///     +----------------------+----------------------------------------------------------+
///
/// libarchive reads forward only: fields continued before their directory or after the next one
/// would be lost, hence their place. There is no padding at the end. An empty file takes no sector;
/// its block is where a file would begin.
struct Layout {
    Hierarchy primary;
    Hierarchy joliet;
    std::vector<SystemUse> fields;  ///< by node: of its record in its parent; the root's "."
    std::vector<Continuation> continuations;  ///< by node
    std::vector<Extent> files;                ///< by node
    std::vector<std::size_t> file_order;      ///< files with data, as they follow each other
    std::uint32_t data_block = 0;             ///< first sector of the files
    std::uint32_t volume_blocks = 0;
};

/// The Rock Ridge attributes of a node: serial numbers count the nodes, links count subdirectories.
PosixAttributes posix_attributes(const std::vector<Node>& nodes, std::size_t node);

/// The nodes whose fields stand in a primary directory's records: its children, and the root for
/// its own ".".
std::vector<std::size_t> records_of(const Hierarchy& hierarchy, std::size_t directory);

/// Errors: invalid_argument when the image would need more than 2^32 sectors or a directory 4 GiB.
Result<Layout> plan(const std::vector<Node>& nodes);

}  // namespace noxsup::imaging::iso9660
