#include "supervisor/launch/template_ram.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <functional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "supervisor/base/file.hpp"
#include "supervisor/base/scope_exit.hpp"
#include "supervisor/launch/sealed_memory.hpp"

namespace noxsup::launch {
namespace {

constexpr std::size_t chunk_bytes = std::size_t{64} << 10;
/// Memory takes no more than a few processors can copy.
constexpr unsigned max_workers = 4;
/// What one of them takes at a time.
constexpr off_t share_bytes = off_t{8} << 20;

bool is_zero(std::string_view bytes) {
    return bytes.empty() ||
           (bytes.front() == 0 && bytes.substr(1) == bytes.substr(0, bytes.size() - 1));
}

Result<> write_at(int fd, std::string_view data, off_t position, const std::string& what) {
    while (!data.empty()) {
        const auto put = ::pwrite(fd, data.data(), data.size(), position);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return errno_error("write " + what, errno);
        data.remove_prefix(static_cast<std::size_t>(put));
        position += put;
    }
    return {};
}

/// What of `from` is neither a hole nor zero between two places, at the same places of `to`, which
/// is a hole all over.
Result<> copy_sparsely(int from, int to, off_t position, off_t end, const std::string& what) {
    std::vector<char> buffer(chunk_bytes);
    while (position < end) {
        const auto data = ::lseek(from, position, SEEK_DATA);
        if (data < 0 && errno == ENXIO) return {};
        if (data < 0) return errno_error("read " + what, errno);
        if (data >= end) return {};
        position = data;
        const auto wanted = std::min<off_t>(static_cast<off_t>(chunk_bytes), end - position);
        const auto got = ::pread(from, buffer.data(), static_cast<std::size_t>(wanted), position);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno_error("read " + what, errno);
        if (got == 0) return Error{ErrorCode::io_error, what + " ends early"};
        const std::string_view bytes(buffer.data(), static_cast<std::size_t>(got));
        if (!is_zero(bytes)) NOXSUP_TRY(write_at(to, bytes, position, what));
        position += got;
    }
    return {};
}

Result<off_t> size_of(int fd, const std::string& what) {
    struct stat info {};
    if (::fstat(fd, &info) != 0) return errno_error("stat " + what, errno);
    return info.st_size;
}

}  // namespace

Result<UniqueFd> make_template_ram(std::uint64_t bytes) {
    NOXSUP_TRY_VALUE(auto file, make_memory_file("noxsup-template"));
    if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0)
        return errno_error("make a file for the template's memory", errno);
    return file;
}

Result<> store_template_ram(int fd, const std::filesystem::path& path) {
    const auto what = path.string();
    NOXSUP_TRY_VALUE(const auto size, size_of(fd, what));
    // Readable for the own uids of QEMUs, which get it as a descriptor; no directory above it is.
    auto file = open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (!file) return std::move(file).error();
    bool done = false;
    const ScopeExit tidy([&done, &path] {
        if (!done) ::unlink(path.c_str());
    });
    if (::ftruncate(file->get(), size) != 0) return errno_error("write " + what, errno);
    NOXSUP_TRY(copy_sparsely(fd, file->get(), 0, size, what));
    if (::fchmod(file->get(), 0444) != 0) return errno_error("chmod " + what, errno);
    if (::fsync(file->get()) != 0) return errno_error("fsync " + what, errno);
    done = true;
    return {};
}

Result<LoadingRam> begin_template_ram(const std::filesystem::path& path, std::uint64_t bytes) {
    const auto what = path.string();
    LoadingRam ram;
    NOXSUP_TRY_VALUE(ram.stored, open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    NOXSUP_TRY_VALUE(const auto size, size_of(ram.stored.get(), what));
    if (size != static_cast<off_t>(bytes))
        return Error{ErrorCode::unreadable_file, what + " is not of the template's memory size"};
    NOXSUP_TRY_VALUE(ram.copy, make_template_ram(bytes));
    return ram;
}

Result<> fill_template_ram(const LoadingRam& ram) {
    const std::string what = "the template's memory";
    NOXSUP_TRY_VALUE(const auto size, size_of(ram.copy.get(), what));
    const auto workers = std::clamp(std::thread::hardware_concurrency(), 1U, max_workers);
    std::vector<Result<>> outcomes(workers);
    std::atomic<off_t> next = 0;
    const auto work = [&](Result<>& outcome) {
        while (outcome) {
            const auto begin = next.fetch_add(share_bytes);
            if (begin >= size) return;
            const auto end = std::min(begin + share_bytes, size);
            outcome = copy_sparsely(ram.stored.get(), ram.copy.get(), begin, end, what);
        }
    };
    {
        std::vector<std::jthread> helpers;
        try {
            for (unsigned i = 1; i < workers; ++i)
                helpers.emplace_back(work, std::ref(outcomes[i]));
        } catch (const std::system_error&) {
            // The host gives no more threads: those that are there do it.
        }
        work(outcomes.front());
    }
    for (auto& outcome : outcomes) NOXSUP_TRY(std::move(outcome));
    NOXSUP_TRY_VALUE(const auto stored, size_of(ram.stored.get(), what));
    if (stored != size) return Error{ErrorCode::unreadable_file, what + " has become shorter"};
    return seal_memory_file(ram.copy.get());
}

}  // namespace noxsup::launch
