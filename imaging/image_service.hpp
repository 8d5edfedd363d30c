// Gets base images into the store: from the vendor, built from packages, or imported.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "imaging/catalog.hpp"
#include "imaging/checksums.hpp"
#include "imaging/image_builder.hpp"
#include "imaging/image_files.hpp"
#include "imaging/image_store.hpp"
#include "imaging/import_plan.hpp"
#include "imaging/vendor_source.hpp"
#include "imaging/worker.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// What ensure() may do when the image is not in the store.
enum class ImagePolicy {
    vendor_then_build,  ///< download; built from packages where no vendor answers (scripts, --yes)
    vendor_only,        ///< download; vendor_unreachable tells the caller to ask the user
    build,              ///< build from packages
    cached_only,        ///< nothing: image_not_found
};

struct ServiceConfig {
    std::uint64_t max_download_bytes = std::uint64_t{16} << 30;
    std::uint64_t max_image_bytes = std::uint64_t{256} << 30;  ///< of an unpacked or converted file
    std::chrono::seconds connect_timeout{15};
    std::chrono::seconds stall_timeout{30};
    std::chrono::milliseconds retry_delay{1000};
};

/// How a pull ended.
struct PullResult {
    Image image;
    bool downloaded = false;              ///< false: the store had the vendor's newest already
    std::optional<std::string> replaced;  ///< digest that the name pointed to before
};

struct ImportRequest {
    int fd = -1;              ///< a regular file, open for reading; borrowed
    std::string source;       ///< what the user calls it: "disk.qcow2"
    std::string name;         ///< of the image; empty: made from `source`
    std::string os;           ///< "debian:12": it becomes the image of that catalog entry; or empty
    std::string arch;         ///< or empty
    bool accept_raw = false;  ///< the user said it is a raw disk
    /// The content is wanted, under whichever name: what is there already is taken as it is, and a
    /// taken name gives way to a free one.
    bool any_name = false;
};

struct ImportUrlRequest {
    std::string url;
    std::string name;
    std::string digest;  ///< "sha256:HEX" or "sha512:HEX", or empty: https alone vouches for it
    std::string os;
    std::string arch;
    bool accept_raw = false;
    bool any_name = false;  ///< as above
};

/// Coroutines that may run side by side: work on one name is done once, the others wait for it.
/// All: cancellation ends the worker, leaves a part that the next call resumes, and completes with
/// `interrupted`; nothing is at a final name unless it is verified.
class ImageService {
  public:
    /// All outlive this object.
    ImageService(ImageStore& store, const Catalog& catalog, ImageWorker& worker,
                 ImageBuilder& builder, ServiceConfig config = {});

    /// The image for an OS ("debian", "debian:12"), from the store without any network call when it
    /// is there. Errors: image_not_found, vendor_unreachable, download_failed, digest_mismatch, ...
    boost::asio::awaitable<Result<Image>> ensure(std::string os, std::string arch,
                                                 ImagePolicy policy, ProgressCallback progress);

    /// Asks the vendor for its newest image; the name moves to it, the older base stays for its
    /// overlays. Errors beside those of VendorSource: vendor_unreachable only for what can be built
    /// instead, else download_failed.
    boost::asio::awaitable<Result<PullResult>> pull(std::string os, std::string arch,
                                                    ProgressCallback progress);

    /// Builds from packages (Debian alone) even when an image is there; the name moves to the new
    /// one.
    /// @param package_mirror for this build, or empty. Errors: invalid_argument when it is no URL
    boost::asio::awaitable<Result<Image>> build(std::string os, std::string arch,
                                                std::string package_mirror,
                                                ProgressCallback progress);

    /// Takes a user's file: unpacked, inspected, rewritten. Errors: image_invalid, image_hostile,
    /// already_exists when the name is another image's.
    boost::asio::awaitable<Result<Image>> import(ImportRequest request, ProgressCallback progress);

    /// The same for a URL. The same URL and digest imported before is not downloaded again.
    boost::asio::awaitable<Result<Image>> import_url(ImportUrlRequest request,
                                                     ProgressCallback progress);

    /// Reads the whole file and compares it with its digest. Errors: digest_mismatch with what to
    /// do.
    boost::asio::awaitable<Result<>> verify(Image image, ProgressCallback progress);

    /// The same image with the size of its disk, which its file is asked for where the metadata is
    /// lost. Errors: image_invalid, image_hostile.
    boost::asio::awaitable<Result<Image>> with_size(Image image);

  private:
    boost::asio::awaitable<Result<UniqueFd>> lock(std::string name, ProgressCallback progress);
    boost::asio::awaitable<Result<PullResult>> pull_locked(CatalogImage entry,
                                                           ProgressCallback progress);
    boost::asio::awaitable<Result<Image>> build_locked(CatalogImage entry,
                                                       std::string package_mirror,
                                                       ProgressCallback progress);
    [[nodiscard]] FetchRequest fetch_request(const std::string& url, const Part& part) const;
    /// What a download came to: an image in the store, or the digest that it should not have.
    struct Download {
        Image image;
        std::string other_digest;
        bool resumed = false;
    };
    boost::asio::awaitable<Result<Download>> download(CatalogImage entry, VendorFile file,
                                                      ProgressCallback progress);
    [[nodiscard]] Result<std::optional<Image>> imported_before(
        const ImportUrlRequest& request, const std::optional<ExpectedDigest>& expected) const;
    /// An import whose name is locked; or `known`, the image that makes it needless.
    struct HeldImport {
        ImportPlan plan;
        UniqueFd lock;
        std::optional<Image> known;
    };
    /// @param known asked before each plan; empty: nothing makes the import needless
    boost::asio::awaitable<Result<HeldImport>> hold_import(
        ImportWish wish, std::function<Result<std::optional<Image>>()> known,
        ProgressCallback progress);
    boost::asio::awaitable<Result<Image>> adopt_import(int source_fd, ImportPlan plan,
                                                       bool accept_raw, ProgressCallback progress);

    ImageStore& store_;
    const Catalog& catalog_;
    ImageWorker& worker_;
    ImageBuilder& builder_;
    ServiceConfig config_;
    VendorSource vendor_;
};

}  // namespace noxsup::imaging
