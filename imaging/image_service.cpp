#include "imaging/image_service.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "imaging/image_files.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {

namespace asio = boost::asio;

namespace {

void tell(const ProgressCallback& progress, std::string stage, std::string note) {
    if (!progress) return;
    Progress report;
    report.stage = std::move(stage);
    report.note = std::move(note);
    progress(report);
}

/// True when the store's file is the one that the vendor publishes.
bool is_published(const Image& image, const ExpectedDigest& digest) {
    if (image.origin == ImageOrigin::foreign) return false;
    const auto& own = digest.algorithm == "sha256" ? image.digest : image.vendor_sha512;
    return own == digest.hex;
}

Error not_buildable(const CatalogImage& entry) {
    return {ErrorCode::invalid_argument, entry.title() + " cannot be built from packages",
            "only Debian can; get the vendor's image: noxsup image pull " + entry.names.front()};
}

/// What nobody can build instead is a download that failed, like any other.
Error without_vendor(Error error, const CatalogImage& entry, const char* advice,
                     const std::string& os) {
    if (entry.is_buildable()) {
        error.hint = advice + os;
        return error;
    }
    error.code = ErrorCode::download_failed;
    if (error.hint.empty())
        error.hint =
            "look at the network, or get the image elsewhere: noxsup image import FILE "
            "--os " +
            os;
    return error;
}

}  // namespace

ImageService::ImageService(ImageStore& store, const Catalog& catalog, ImageWorker& worker,
                           ImageBuilder& builder, ServiceConfig config)
    : store_(store),
      catalog_(catalog),
      worker_(worker),
      builder_(builder),
      config_(config),
      vendor_(catalog, worker, {config.connect_timeout, config.stall_timeout, config.retry_delay}) {
}

asio::awaitable<Result<UniqueFd>> ImageService::lock(std::string name, ProgressCallback progress) {
    NOXSUP_CO_TRY(store_.prepare());
    const auto on_wait = [&progress, &name] {
        tell(progress, "wait", "waiting for another command that makes " + name);
    };
    auto locking = wait_for_lock(store_, name, on_wait);
    co_return co_await std::move(locking);
}

asio::awaitable<Result<Image>> ImageService::ensure(std::string os, std::string arch,
                                                    ImagePolicy policy, ProgressCallback progress) {
    NOXSUP_CO_TRY_VALUE(const auto entry, catalog_.find(os, arch));
    NOXSUP_CO_TRY_VALUE(auto cached,
                        store_.current(entry.name, entry.os, entry.release, entry.arch));
    if (cached) co_return std::move(*cached);
    if (policy == ImagePolicy::cached_only) {
        co_return Error{ErrorCode::image_not_found,
                        "there is no image of " + entry.title() + " here",
                        "noxsup image pull " + os};
    }
    auto locking = lock(entry.name, progress);
    auto held = co_await std::move(locking);
    if (!held) co_return std::move(held).error();
    NOXSUP_CO_TRY_VALUE(cached, store_.current(entry.name, entry.os, entry.release, entry.arch));
    if (cached) co_return std::move(*cached);
    if (policy == ImagePolicy::build) {
        if (!entry.is_buildable()) co_return not_buildable(entry);
        auto building = build_locked(entry, std::string(), progress);
        co_return co_await std::move(building);
    }
    auto pulling = pull_locked(entry, progress);
    auto pulled = co_await std::move(pulling);
    if (pulled) co_return std::move(pulled->image);
    auto vendor = std::move(pulled).error();
    if (vendor.code != ErrorCode::vendor_unreachable) co_return vendor;
    if (policy == ImagePolicy::vendor_only || !entry.is_buildable()) {
        co_return without_vendor(std::move(vendor), entry,
                                 "build it from Debian packages instead: noxsup image build ", os);
    }
    tell(progress, "build",
         "the vendor cannot be reached (" + vendor.message + "); building " + entry.title() +
             " from packages");
    auto building = build_locked(entry, std::string(), progress);
    auto built = co_await std::move(building);
    if (built) co_return built;
    auto error = std::move(built).error();
    error.evidence.push_back("before that: " + vendor.message);
    co_return error;
}

asio::awaitable<Result<PullResult>> ImageService::pull(std::string os, std::string arch,
                                                       ProgressCallback progress) {
    NOXSUP_CO_TRY_VALUE(const auto entry, catalog_.find(os, arch));
    auto locking = lock(entry.name, progress);
    auto held = co_await std::move(locking);
    if (!held) co_return std::move(held).error();
    auto pulling = pull_locked(entry, progress);
    auto result = co_await std::move(pulling);
    if (!result && result.error().code == ErrorCode::vendor_unreachable) {
        co_return without_vendor(
            std::move(result).error(), entry,
            "look at the network, or build it from Debian packages: noxsup image build ", os);
    }
    co_return result;
}

asio::awaitable<Result<Image>> ImageService::build(std::string os, std::string arch,
                                                   std::string package_mirror,
                                                   ProgressCallback progress) {
    NOXSUP_CO_TRY_VALUE(const auto entry, catalog_.find(os, arch));
    if (!entry.is_buildable()) co_return not_buildable(entry);
    // Packages are signed, so plain http does.
    if (!package_mirror.empty()) NOXSUP_CO_TRY(check_image_url(package_mirror, true));
    auto locking = lock(entry.name, progress);
    auto held = co_await std::move(locking);
    if (!held) co_return std::move(held).error();
    auto building = build_locked(entry, std::move(package_mirror), progress);
    co_return co_await std::move(building);
}

FetchRequest ImageService::fetch_request(const std::string& url, const Part& part) const {
    FetchRequest request;
    request.url = url;
    request.output_fd = part.fd.get();
    request.state_fd = part.state_fd.get();
    request.max_bytes = config_.max_download_bytes;
    request.allow_http = catalog_.mirror().allow_http;
    request.ca_file = catalog_.mirror().ca_file;
    request.connect_timeout = config_.connect_timeout;
    request.stall_timeout = config_.stall_timeout;
    request.retry_delay = config_.retry_delay;
    return request;
}

asio::awaitable<Result<ImageService::Download>> ImageService::download(CatalogImage entry,
                                                                       VendorFile file,
                                                                       ProgressCallback progress) {
    NOXSUP_CO_TRY_VALUE(const auto part, Part::open(store_.part_path(entry.name)));
    auto fetching = worker_.fetch(fetch_request(file.url, part), progress);
    const auto fetched = co_await std::move(fetching);
    if (!fetched) co_return fetched.error();
    auto hashing = worker_.digest(part.fd.get(), progress);
    const auto digest = co_await std::move(hashing);
    if (!digest) co_return digest.error();
    Download result;
    result.resumed = fetched->resumed;
    const auto& got = digest_in(*digest, file.digest);
    if (got != file.digest.hex) {
        part.discard();
        result.other_digest = file.digest.algorithm + ":" + got;
        co_return result;
    }
    auto inspecting = worker_.inspect(part.fd.get(), false);
    auto facts = co_await std::move(inspecting);
    if (facts && facts->kind != FileKind::qcow2) {
        facts = Error{ErrorCode::image_invalid, "not a qcow2 image"};
    }
    if (!facts) {
        part.discard();
        co_return std::move(facts).error().context(file.url);
    }
    auto image = catalog_metadata(entry, ImageOrigin::vendor);
    image.digest = digest->sha256;
    image.vendor_sha512 = digest->sha512;
    image.signed_by = file.signed_by;
    image.source = file.url;
    image.virtual_bytes = facts->virtual_bytes;
    NOXSUP_CO_TRY_VALUE(result.image, store_.adopt(part.file, image, entry.name));
    part.discard();
    co_return result;
}

asio::awaitable<Result<PullResult>> ImageService::pull_locked(CatalogImage entry,
                                                              ProgressCallback progress) {
    NOXSUP_CO_TRY_VALUE(const auto before,
                        store_.current(entry.name, entry.os, entry.release, entry.arch));
    PullResult result;
    std::string last_expected;
    // A second round for a part that was stale, or a vendor who published between the two requests.
    for (int round = 0;; ++round) {
        // The note about a missing keyring is for once.
        auto asking = vendor_.newest(entry, round == 0 ? progress : ProgressCallback());
        auto file = co_await std::move(asking);
        if (!file) co_return std::move(file).error();
        NOXSUP_CO_TRY_VALUE(const auto known, store_.list());
        const auto same = std::ranges::find_if(
            known, [&file](const Image& image) { return is_published(image, file->digest); });
        if (same != known.end()) {
            result.image = *same;
            if (!before || before->digest != same->digest) {
                NOXSUP_CO_TRY(store_.set_name(entry.name, same->digest));
                NOXSUP_CO_TRY_VALUE(result.image, store_.by_digest(same->digest));
            }
            break;
        }
        auto loading = download(entry, *file, progress);
        auto loaded = co_await std::move(loading);
        if (!loaded) co_return std::move(loaded).error();
        if (!loaded->other_digest.empty()) {
            const auto expected = file->digest.text();
            const bool hopeful = loaded->resumed || expected != last_expected;
            last_expected = expected;
            if (round < 2 && hopeful) continue;
            co_return digest_mismatch(file->url, expected, loaded->other_digest);
        }
        result.image = std::move(loaded->image);
        result.downloaded = true;
        break;
    }
    if (before && before->digest != result.image.digest) result.replaced = before->digest;
    co_return result;
}

asio::awaitable<Result<Image>> ImageService::build_locked(CatalogImage entry,
                                                          std::string package_mirror,
                                                          ProgressCallback progress) {
    const NewFile output(store_.new_path(entry.name));
    auto building = builder_.build(entry, output.path(), std::move(package_mirror), progress);
    const auto built = co_await std::move(building);
    if (!built) co_return built.error();
    NOXSUP_CO_TRY_VALUE(const auto fd, open_file(output.path(), O_RDONLY | O_NOFOLLOW));
    auto inspecting = worker_.inspect(fd.get(), false);
    auto facts = co_await std::move(inspecting);
    if (!facts) co_return std::move(facts).error().context("the built image");
    auto hashing = worker_.digest(fd.get(), progress);
    auto digest = co_await std::move(hashing);
    if (!digest) co_return std::move(digest).error();
    auto image = catalog_metadata(entry, ImageOrigin::built);
    image.digest = digest->sha256;
    image.source = "build-debian " + entry.codename;
    image.virtual_bytes = facts->virtual_bytes;
    co_return store_.adopt(output.path(), image, entry.name);
}

asio::awaitable<Result<>> ImageService::verify(Image image, ProgressCallback progress) {
    NOXSUP_CO_TRY_VALUE(const auto fd, store_.open(image));
    auto hashing = worker_.digest(fd.get(), progress);
    auto digest = co_await std::move(hashing);
    if (!digest) co_return std::move(digest).error();
    if (digest->sha256 == image.digest) co_return Result<>();
    auto error = digest_mismatch("image " + image.display_name(), "sha256:" + image.digest,
                                 "sha256:" + digest->sha256);
    const auto again =
        image.origin == ImageOrigin::vendor
            ? "noxsup image pull " + image.os + ":" + image.release + " --arch " + image.arch
        : image.origin == ImageOrigin::built
            ? "noxsup image build " + image.os + ":" + image.release + " --arch " + image.arch
            : std::string("noxsup image import FILE");
    error.hint =
        "the file was changed, or the medium is failing. Save what VMs on it hold and "
        "delete those; then 'noxsup image rm " +
        image.display_name() + "' and '" + again + "'";
    co_return error;
}

asio::awaitable<Result<Image>> ImageService::with_size(Image image) {
    if (image.virtual_bytes != 0) co_return image;
    NOXSUP_CO_TRY_VALUE(const auto fd, store_.open(image));
    auto inspecting = worker_.inspect(fd.get(), false);
    auto facts = co_await std::move(inspecting);
    if (!facts) co_return std::move(facts).error().context("image " + image.display_name());
    image.virtual_bytes = facts->virtual_bytes;
    co_return image;
}

}  // namespace noxsup::imaging
