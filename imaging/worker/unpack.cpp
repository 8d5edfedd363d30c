#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "imaging/image_probe.hpp"
#include "imaging/worker/operations.hpp"
#include "imaging/worker/report.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging::worker {
namespace {

constexpr std::size_t chunk_bytes = std::size_t{1} << 20;
constexpr std::size_t hole_bytes = std::size_t{64} << 10;
constexpr std::uint64_t ratio_from = std::uint64_t{1} << 30;

bool is_zero(std::span<const char> data) {
    return data[0] == 0 && std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0;
}

/// Writes a file from its start, leaving holes where there are only zeros, up to a size.
class SparseWriter {
  public:
    SparseWriter(int fd, std::uint64_t max_bytes) : fd_(fd), max_bytes_(max_bytes) {}

    Result<> write(std::span<const char> data) {
        if (data.size() > max_bytes_ - size_) {
            return Error{ErrorCode::image_hostile,
                         "it unpacks to more than " + format_bytes(max_bytes_)};
        }
        while (!data.empty()) {
            const auto piece = data.first(std::min(data.size(), hole_bytes));
            if (!is_zero(piece)) NOXSUP_TRY(put(piece));
            size_ += piece.size();
            data = data.subspan(piece.size());
        }
        return {};
    }

    Result<std::uint64_t> finish() {
        if (::ftruncate(fd_, static_cast<off_t>(size_)) != 0) return errno_error("unpack", errno);
        return size_;
    }

    [[nodiscard]] std::uint64_t size() const { return size_; }

  private:
    Result<> put(std::span<const char> piece) const {
        auto at = size_;
        while (!piece.empty()) {
            const auto done = ::pwrite(fd_, piece.data(), piece.size(), static_cast<off_t>(at));
            if (done < 0 && errno == EINTR) continue;
            if (done < 0) return errno_error("write the unpacked image", errno);
            piece = piece.subspan(static_cast<std::size_t>(done));
            at += static_cast<std::uint64_t>(done);
        }
        return {};
    }

    int fd_;
    std::uint64_t max_bytes_;
    std::uint64_t size_ = 0;
};

Result<std::uint64_t> file_size(int fd) {
    struct stat info {};
    if (::fstat(fd, &info) != 0)
        return errno_error("stat image", errno, ErrorCode::unreadable_file);
    return static_cast<std::uint64_t>(info.st_size);
}

Result<std::uint64_t> copy_plain(const UnpackRequest& request) {
    NOXSUP_TRY_VALUE(const auto total, file_size(request.input_fd));
    SparseWriter writer(request.output_fd, request.max_bytes);
    ProgressReport report("copy");
    report.begin(0, total);
    std::vector<char> chunk(chunk_bytes);
    for (;;) {
        const auto got = ::pread(request.input_fd, chunk.data(), chunk.size(),
                                 static_cast<off_t>(writer.size()));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno_error("read image", errno, ErrorCode::unreadable_file);
        if (got == 0) break;
        NOXSUP_TRY(writer.write(std::span(chunk.data(), static_cast<std::size_t>(got))));
        report.update(writer.size());
    }
    report.finish(writer.size());
    return writer.finish();
}

class Unpacking {
  public:
    explicit Unpacking(const UnpackRequest& request)
        : request_(request),
          archive_(archive_read_new(), &archive_read_free),
          writer_(request.output_fd, request.max_bytes),
          report_("unpack") {}

    Result<std::uint64_t> run() {
        NOXSUP_TRY(open());
        NOXSUP_TRY(find_the_file());
        for (;;) {
            const auto got = archive_read_data(archive_.get(), chunk_.data(), chunk_.size());
            if (got < 0) return damaged();
            if (got == 0) break;
            NOXSUP_TRY(writer_.write(std::span(chunk_.data(), static_cast<std::size_t>(got))));
            NOXSUP_TRY(check_ratio());
            report_.update(consumed());
        }
        NOXSUP_TRY(expect_no_more());
        report_.finish(consumed());
        return writer_.finish();
    }

  private:
    Result<> open() {
        auto* archive = archive_.get();
        if (archive == nullptr) return Error{ErrorCode::no_memory, "libarchive did not start"};
        archive_read_support_filter_xz(archive);
        archive_read_support_filter_gzip(archive);
        archive_read_support_filter_zstd(archive);
        archive_read_support_filter_bzip2(archive);
        archive_read_support_filter_lz4(archive);
        archive_read_support_format_tar(archive);
        archive_read_support_format_raw(archive);
        NOXSUP_TRY_VALUE(const auto total, file_size(request_.input_fd));
        if (::lseek(request_.input_fd, 0, SEEK_SET) != 0) return errno_error("read image", errno);
        if (archive_read_open_fd(archive, request_.input_fd, std::size_t{64} << 10) != ARCHIVE_OK)
            return damaged();
        report_.begin(0, total);
        return {};
    }

    /// Stands on the one regular file; directories are passed over.
    Result<> find_the_file() {
        for (;;) {
            archive_entry* entry = nullptr;
            const auto status = archive_read_next_header(archive_.get(), &entry);
            if (status == ARCHIVE_EOF)
                return Error{ErrorCode::image_invalid, "the archive holds no file"};
            if (status != ARCHIVE_OK) return damaged();
            if (archive_entry_filetype(entry) == AE_IFDIR) continue;
            const bool plain = archive_entry_filetype(entry) == AE_IFREG ||
                               archive_format(archive_.get()) == ARCHIVE_FORMAT_RAW;
            if (!plain || archive_entry_hardlink(entry) != nullptr) {
                return Error{ErrorCode::image_hostile,
                             "the archive holds a link or a device instead of an image"};
            }
            return {};
        }
    }

    Result<> expect_no_more() {
        archive_entry* entry = nullptr;
        for (;;) {
            const auto status = archive_read_next_header(archive_.get(), &entry);
            if (status == ARCHIVE_EOF) return {};
            if (status != ARCHIVE_OK) return damaged();
            if (archive_entry_filetype(entry) == AE_IFDIR) continue;
            return Error{ErrorCode::image_invalid, "the archive holds more than one file",
                         "unpack it and import the disk image"};
        }
    }

    Result<> check_ratio() {
        const auto in = std::max<std::uint64_t>(consumed(), 1);
        if (writer_.size() > ratio_from && writer_.size() / in > request_.max_ratio) {
            return Error{ErrorCode::image_hostile, "it unpacks to more than " +
                                                       std::to_string(request_.max_ratio) +
                                                       " times its size"};
        }
        return {};
    }

    [[nodiscard]] std::uint64_t consumed() const {
        const auto bytes = archive_filter_bytes(archive_.get(), -1);
        return bytes < 0 ? 0 : static_cast<std::uint64_t>(bytes);
    }

    Error damaged() {
        const char* words = archive_error_string(archive_.get());
        return {ErrorCode::image_invalid,
                std::string("it cannot be unpacked: ") +
                    escape_for_terminal(words == nullptr ? "damaged" : words)};
    }

    const UnpackRequest& request_;
    std::unique_ptr<archive, decltype(&archive_read_free)> archive_;
    SparseWriter writer_;
    ProgressReport report_;
    std::vector<char> chunk_ = std::vector<char>(chunk_bytes);
};

}  // namespace

Result<std::uint64_t> unpack(const UnpackRequest& request) {
    NOXSUP_TRY_VALUE(const auto kind, identify_fd(request.input_fd));
    if (!is_packed(kind)) return copy_plain(request);
    return Unpacking(request).run();
}

}  // namespace noxsup::imaging::worker
