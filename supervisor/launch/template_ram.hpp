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

/// What was stored, on its way into memory for a QEMU that maps no file that it may only read. The
/// copy is one for all that map it, and goes with the last of them.
struct LoadingRam {
    UniqueFd stored;
    /// Empty at first. A QEMU that waits for a stream maps it and touches nothing of it, so that it
    /// may start before the rest is there.
    UniqueFd copy;
};

/// Errors: unreadable_file (also for a file that is not of `bytes` bytes), no_space, io_error.
Result<LoadingRam> begin_template_ram(const std::filesystem::path& path, std::uint64_t bytes);

/// Fills the copy, on several processors, and seals it. Blocks. Errors: unreadable_file for a file
/// that has become shorter; no_space, io_error.
Result<> fill_template_ram(const LoadingRam& ram);

}  // namespace noxsup::launch
