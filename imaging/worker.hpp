// The work on untrusted bytes that a confined process does for us: the seam, its requests and
// answers.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "imaging/boot_report.hpp"
#include "imaging/image_probe.hpp"
#include "imaging/progress.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// A download. Descriptors are borrowed, open for reading and writing.
struct FetchRequest {
    std::string url;
    int output_fd = -1;
    int state_fd = -1;  ///< keeps URL and ETag for a resume; -1: always from the start
    std::uint64_t max_bytes = 0;
    bool allow_http = false;
    std::string ca_file;
    bool text =
        false;  ///< a small text (checksums): no further attempts, so that a fallback starts soon
    bool page = false;  ///< a web page may come: the listing of a directory
    std::chrono::seconds connect_timeout{15};
    std::chrono::seconds stall_timeout{30};  ///< less than 1 KiB/s for that long ends an attempt
    std::chrono::milliseconds retry_delay{1000};  ///< before the second attempt; doubles up to 30 s
    int attempts = 5;                             ///< in a row without 1 MiB of progress
};

struct FetchResult {
    std::uint64_t bytes = 0;
    bool resumed = false;  ///< part of it was there before
    std::string final_url;
};

struct DigestResult {
    std::string sha256;
    std::string sha512;
    std::uint64_t bytes = 0;
};

/// Copies or decompresses (xz, gzip, zstd, bzip2, lz4; a tar with a single file) into a descriptor.
struct UnpackRequest {
    int input_fd = -1;
    int output_fd = -1;
    std::uint64_t max_bytes = 0;
    std::uint64_t max_ratio = 1000;  ///< output to input, looked at from 1 GiB of output on
};

/// Rewrites a disk image as a fresh qcow2 (v3) without any reference to another file.
struct ConvertRequest {
    int input_fd = -1;        ///< a private copy that nobody changes meanwhile
    int output_fd = -1;       ///< empty file
    bool accept_raw = false;  ///< take bytes without a partition table as a raw disk
    std::uint64_t max_virtual_bytes = 0;
};

/// An OpenPGP signature to check by gpgv. Descriptors are borrowed, of files made for this alone.
struct SignatureRequest {
    int data_fd = -1;
    int signature_fd = -1;  ///< detached; -1: the data is a clear-signed text
    int keyring_fd = -1;    ///< binary public keys, all of them trusted
    int output_fd = -1;     ///< empty; gets the text inside a clear-signed one
};

/// Does it in a process without rights. The seam that tests may replace.
/// Every call: cancellation kills the process and completes with `interrupted`; host_lacks_tool
/// when the worker is not installed; no_space when the file system is full.
class ImageWorker {
  public:
    ImageWorker() = default;
    ImageWorker(const ImageWorker&) = delete;
    ImageWorker& operator=(const ImageWorker&) = delete;
    virtual ~ImageWorker() = default;

    /// Errors: vendor_unreachable when no server answered (name, connection, proxy, status
    /// 403/404/5xx); download_failed for every other way a transfer goes wrong. What came stays for
    /// a resume.
    virtual boost::asio::awaitable<Result<FetchResult>> fetch(FetchRequest request,
                                                              ProgressCallback progress) = 0;
    /// SHA-256 and SHA-512 of a whole file.
    virtual boost::asio::awaitable<Result<DigestResult>> digest(int fd,
                                                                ProgressCallback progress) = 0;
    /// What the first bytes say. Errors: image_invalid, image_hostile, unreadable_file.
    virtual boost::asio::awaitable<Result<ImageFacts>> inspect(int fd, bool accept_raw) = 0;
    /// Returns the bytes written. Errors: image_invalid (damaged), image_hostile (a bomb, several
    /// files).
    virtual boost::asio::awaitable<Result<std::uint64_t>> unpack(UnpackRequest request,
                                                                 ProgressCallback progress) = 0;
    /// Inspects, then runs qemu-img. Errors as inspect, host_lacks_tool without qemu-img.
    virtual boost::asio::awaitable<Result<ImageFacts>> convert(ConvertRequest request,
                                                               ProgressCallback progress) = 0;
    /// What a guest's own disk boots. Errors: invalid_argument where it is nothing that can be
    /// taken over, with the reason; image_invalid, image_hostile, unreadable_file, no_space.
    virtual boost::asio::awaitable<Result<BootReport>> read_boot(BootRequest request) = 0;
    /// Returns the fingerprint of the key. Errors: digest_mismatch when there is no good signature
    /// by a key of the keyring; host_lacks_tool without gpgv.
    virtual boost::asio::awaitable<Result<std::string>> check_signature(
        SignatureRequest request) = 0;
};

}  // namespace noxsup::imaging
