#include "imaging/image_files.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "supervisor/base/async.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/random.hpp"

namespace noxsup::imaging {

namespace fs = std::filesystem;

Result<Part> Part::open(const fs::path& path) {
    Part part;
    part.file = path;
    part.state_file = path;
    part.state_file += ".json";
    NOXSUP_TRY_VALUE(part.fd, open_file(part.file, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
    NOXSUP_TRY_VALUE(part.state_fd,
                     open_file(part.state_file, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
    return part;
}

void Part::discard() const {
    ::unlink(file.c_str());
    ::unlink(state_file.c_str());
}

void NewFile::sweep() const {
    const auto prefix = path_.filename().string();
    std::error_code failure;
    std::vector<fs::path> left;
    for (fs::directory_iterator it(path_.parent_path(), failure), end; !failure && it != end;
         it.increment(failure)) {
        if (it->path().filename().string().starts_with(prefix)) left.push_back(it->path());
    }
    for (const auto& file : left) ::unlink(file.c_str());
}

Result<UniqueFd> make_scratch(const fs::path& directory) {
    const auto path = directory / (".scratch-" + random_hex(8));
    NOXSUP_TRY_VALUE(auto fd, open_file(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    ::unlink(path.c_str());
    return fd;
}

boost::asio::awaitable<Result<UniqueFd>> wait_for_lock(const ImageStore& store, std::string name,
                                                       std::function<void()> on_wait) {
    for (bool told = false;;) {
        NOXSUP_CO_TRY_VALUE(auto held, store.try_lock(name));
        if (held) co_return std::move(*held);
        if (!std::exchange(told, true) && on_wait) on_wait();
        const bool slept = co_await sleep_for(std::chrono::milliseconds(100));
        if (!slept) co_return Error{ErrorCode::interrupted, "interrupted"};
    }
}

const std::string& digest_in(const DigestResult& result, const ExpectedDigest& expected) {
    return expected.algorithm == "sha256" ? result.sha256 : result.sha512;
}

Error digest_mismatch(const std::string& what, const std::string& expected,
                      const std::string& got) {
    Error error(ErrorCode::digest_mismatch, what + ": the digest does not match",
                "the file is not the published one; it was removed");
    error.evidence = {"expected " + expected, "got      " + got};
    return error;
}

}  // namespace noxsup::imaging
