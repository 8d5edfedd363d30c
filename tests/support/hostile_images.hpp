// Disk images that must be refused before any tool looks at them, made in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "supervisor/base/error.hpp"

namespace noxsup::test {

struct HostileImage {
    std::string name;  ///< what is wrong with it
    std::string bytes;
};

/// An honest, empty qcow2 of version 3 with 64 KiB clusters; the others are made from it.
std::string honest_qcow2(std::uint64_t virtual_bytes = std::uint64_t{1} << 30);

/// Writes an integer, big-endian, over the bytes at `offset`.
void put_be32(std::string& bytes, std::size_t offset, std::uint32_t value);
void put_be64(std::string& bytes, std::size_t offset, std::uint64_t value);

/// All of them.
std::vector<HostileImage> hostile_images();

}  // namespace noxsup::test
