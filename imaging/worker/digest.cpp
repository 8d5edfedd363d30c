#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <vector>

#include "imaging/worker/operations.hpp"
#include "imaging/worker/report.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging::worker {
namespace {

constexpr std::size_t chunk_bytes = std::size_t{1} << 20;

class Hash {
  public:
    explicit Hash(const EVP_MD* algorithm) : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
        good_ = context_ && EVP_DigestInit_ex(context_.get(), algorithm, nullptr) == 1;
    }
    void update(const std::vector<std::byte>& data, std::size_t bytes) {
        good_ = good_ && EVP_DigestUpdate(context_.get(), data.data(), bytes) == 1;
    }
    Result<std::string> finish() {
        std::array<std::byte, EVP_MAX_MD_SIZE> value{};
        unsigned int length = 0;
        good_ = good_ &&
                EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(value.data()),
                                   &length) == 1;
        if (!good_) return Error{ErrorCode::failed, "libcrypto could not make a digest"};
        return to_hex(std::span(value).first(length));
    }

  private:
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
    bool good_ = false;
};

}  // namespace

Result<DigestResult> digest(int fd) {
    struct stat info {};
    if (::fstat(fd, &info) != 0) return errno_error("stat image", errno);
    if (!S_ISREG(info.st_mode))
        return Error{ErrorCode::unreadable_file, "the image is not a regular file"};
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    ProgressReport report("verify");
    report.begin(0, static_cast<std::uint64_t>(info.st_size));
    Hash sha256(EVP_sha256());
    Hash sha512(EVP_sha512());
    std::vector<std::byte> chunk(chunk_bytes);
    DigestResult result;
    for (;;) {
        const auto got = ::pread(fd, chunk.data(), chunk.size(), static_cast<off_t>(result.bytes));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno_error("read image", errno, ErrorCode::unreadable_file);
        if (got == 0) break;
        sha256.update(chunk, static_cast<std::size_t>(got));
        sha512.update(chunk, static_cast<std::size_t>(got));
        result.bytes += static_cast<std::uint64_t>(got);
        report.update(result.bytes);
    }
    NOXSUP_TRY_VALUE(result.sha256, sha256.finish());
    NOXSUP_TRY_VALUE(result.sha512, sha512.finish());
    report.finish(result.bytes);
    return result;
}

}  // namespace noxsup::imaging::worker
