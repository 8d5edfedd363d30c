// A directory for one test, removed with all that is in it.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace noxsup::test {

/// Makes a fresh directory (mode 0700) under the system's temporary directory; removes it at the
/// end.
class TempDir {
  public:
    /// For what takes its time from a clock: a disk may hold up whoever writes to it for seconds.
    enum class In { storage, memory };

    /// Without a file system in memory, memory is storage.
    explicit TempDir(In where = In::storage);
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    ~TempDir();

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
    /// Writes a file below the directory, making its parents; returns its path.
    std::filesystem::path write(std::string_view name, std::string_view content) const;

  private:
    std::filesystem::path path_;
};

/// The whole content of a file; throws when it cannot be read.
std::string slurp(const std::filesystem::path& path);

}  // namespace noxsup::test
