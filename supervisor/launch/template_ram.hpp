// The RAM of a template as a file: written by the machine that becomes one, kept on disk, mapped by
// those that begin with it.
#pragma once

#include <cstdint>
#include <filesystem>

#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::launch {

/// A file in memory for a machine that becomes a template (RamFile::shared); it takes what the
/// guest touches, and is sealed once the machine has ended (seal_memory_file). Errors: no_space,
/// io_error.
Result<UniqueFd> make_template_ram(std::uint64_t bytes);

/// Its copy on disk, on the medium when this returns; pages of zeros become holes. Blocks.
/// @param path must not exist. Errors: no_space, io_error; nothing is left then.
Result<> store_template_ram(int fd, const std::filesystem::path& path);

/// A sealed copy in memory of what was stored, for a QEMU that maps no file that it may only read.
/// It is one for all that map it, and goes with the last of them. Blocks.
/// Errors: unreadable_file (also for a file that is not of `bytes` bytes), no_space, io_error.
Result<UniqueFd> load_template_ram(const std::filesystem::path& path, std::uint64_t bytes);

}  // namespace noxsup::launch
