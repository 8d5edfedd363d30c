// Files of an ext2/3/4 file system inside a guest's disk, read by libext2fs without mounting it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "imaging/partitions.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging::worker {

/// What tells whether a file is still the one that it was.
struct ExtFile {
    std::uint32_t inode = 0;
    std::uint64_t bytes = 0;
    std::string marks;  ///< number, generation, size and times, as text
};

/// One file system, read-only. As a boot loader does, it leaves the journal alone.
class ExtFileSystem {
  public:
    /// @param read the disk, which outlives this object  @param start of the file system, in bytes
    /// Errors: image_invalid where there is none.
    static Result<ExtFileSystem> open(DiskRead read, std::uint64_t start);

    /// The UUID, 32 hex digits.
    [[nodiscard]] std::string uuid() const;
    /// A regular file, links followed. Errors: unreadable_file.
    [[nodiscard]] Result<ExtFile> find(std::string_view path) const;
    [[nodiscard]] bool exists(std::string_view path) const;
    /// All of a small file. Errors: unreadable_file, also for one of more than `limit` bytes.
    [[nodiscard]] Result<std::string> read_text(std::string_view path, std::size_t limit) const;
    /// Gives the file's bytes in pieces. Errors: unreadable_file; of `take`.
    Result<> read(const ExtFile& file,
                  const std::function<Result<>(std::span<const std::byte>)>& take) const;

  private:
    struct State;
    explicit ExtFileSystem(std::shared_ptr<State> state) : state_(std::move(state)) {}
    std::shared_ptr<State> state_;
};

}  // namespace noxsup::imaging::worker
