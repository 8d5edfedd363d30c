// Random identifiers from the kernel.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace noxsup {

/// Fills the span from getrandom(2); never fails on a booted Linux.
void fill_random(std::span<std::byte> bytes);

/// `count` random bytes as lower-case hexadecimal (2 x count characters).
std::string random_hex(std::size_t count);

/// A random UUID, RFC 4122 section 4.4 (version 4), lower case.
std::string random_uuid();

}  // namespace noxsup
