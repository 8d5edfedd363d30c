// What images on their way into the store share: files that come and go, digests that differ.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <functional>
#include <string>

#include "imaging/checksums.hpp"
#include "imaging/image_store.hpp"
#include "imaging/worker.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::imaging {

/// A download's two files, kept over failures that a resume can mend.
struct Part {
    std::filesystem::path file;
    std::filesystem::path state_file;
    UniqueFd fd;
    UniqueFd state_fd;

    static Result<Part> open(const std::filesystem::path& path);
    void discard() const;
};

/// A file being made: gone again unless it was adopted.
class NewFile {
  public:
    explicit NewFile(std::filesystem::path path) : path_(std::move(path)) { sweep(); }
    NewFile(const NewFile&) = delete;
    NewFile& operator=(const NewFile&) = delete;
    ~NewFile() { sweep(); }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  private:
    /// Also what a killed builder left under a longer name.
    void sweep() const;

    std::filesystem::path path_;
};

/// A file in `directory` without a name, for bytes that only pass through.
Result<UniqueFd> make_scratch(const std::filesystem::path& directory);

/// Locks a name against other makers, once they let go of it; looks ten times a second.
/// @param on_wait called once where it has to wait, or empty. Errors: of try_lock(); interrupted.
boost::asio::awaitable<Result<UniqueFd>> wait_for_lock(const ImageStore& store, std::string name,
                                                       std::function<void()> on_wait);

/// The digest of the kind that is expected.
const std::string& digest_in(const DigestResult& result, const ExpectedDigest& expected);

/// The error of a download that is not what was published. @param expected, got "sha256:HEX"
Error digest_mismatch(const std::string& what, const std::string& expected, const std::string& got);

}  // namespace noxsup::imaging
