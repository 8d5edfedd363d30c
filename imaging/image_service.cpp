#include "imaging/image_service.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "supervisor/base/async.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/random.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t checksums_limit = std::size_t{1} << 20;

void tell(const ProgressCallback& progress, std::string stage, std::string note) {
    if (!progress) return;
    Progress report;
    report.stage = std::move(stage);
    report.note = std::move(note);
    progress(report);
}

/// A download's two files, kept over failures that a resume can mend.
struct Part {
    fs::path file;
    fs::path state_file;
    UniqueFd fd;
    UniqueFd state_fd;

    static Result<Part> open(const fs::path& path) {
        Part part;
        part.file = path;
        part.state_file = path;
        part.state_file += ".json";
        NOXSUP_TRY_VALUE(part.fd, open_file(part.file, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
        NOXSUP_TRY_VALUE(part.state_fd,
                         open_file(part.state_file, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
        return part;
    }
    void discard() const {
        ::unlink(file.c_str());
        ::unlink(state_file.c_str());
    }
};

/// A file being made: gone again unless it was adopted.
class NewFile {
  public:
    explicit NewFile(fs::path path) : path_(std::move(path)) { sweep(); }
    NewFile(const NewFile&) = delete;
    NewFile& operator=(const NewFile&) = delete;
    ~NewFile() { sweep(); }
    [[nodiscard]] const fs::path& path() const { return path_; }

  private:
    /// Also what a killed builder left under a longer name.
    void sweep() const {
        const auto prefix = path_.filename().string();
        std::error_code failure;
        std::vector<fs::path> left;
        for (fs::directory_iterator it(path_.parent_path(), failure), end; !failure && it != end;
             it.increment(failure)) {
            if (it->path().filename().string().starts_with(prefix)) left.push_back(it->path());
        }
        for (const auto& file : left) ::unlink(file.c_str());
    }

    fs::path path_;
};

/// A file without a name, for bytes that only pass through.
Result<UniqueFd> make_scratch(const fs::path& directory) {
    const auto path = directory / (".scratch-" + random_hex(8));
    NOXSUP_TRY_VALUE(auto fd, open_file(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    ::unlink(path.c_str());
    return fd;
}

Error mismatch(const std::string& what, const std::string& expected, const std::string& got) {
    Error error(ErrorCode::digest_mismatch, what + ": the digest does not match",
                "the file is not the published one; it was removed");
    error.evidence = {"expected " + expected, "got      " + got};
    return error;
}

}  // namespace

ImageService::ImageService(ImageStore& store, const Catalog& catalog, ImageWorker& worker,
                           ImageBuilder& builder, ServiceConfig config)
    : store_(store), catalog_(catalog), worker_(worker), builder_(builder), config_(config) {}

asio::awaitable<Result<UniqueFd>> ImageService::lock(std::string name, ProgressCallback progress) {
    NOXSUP_CO_TRY(store_.prepare());
    for (bool told = false;;) {
        NOXSUP_CO_TRY_VALUE(auto held, store_.try_lock(name));
        if (held) co_return std::move(*held);
        if (!std::exchange(told, true))
            tell(progress, "wait", "waiting for another command that makes " + name);
        const bool slept = co_await sleep_for(100ms);
        if (!slept) co_return Error{ErrorCode::interrupted, "interrupted"};
    }
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
        auto building = build_locked(entry, std::string(), progress);
        co_return co_await std::move(building);
    }
    auto pulling = pull_locked(entry, progress);
    auto pulled = co_await std::move(pulling);
    if (pulled) co_return std::move(pulled->image);
    auto vendor = std::move(pulled).error();
    if (vendor.code != ErrorCode::vendor_unreachable) co_return vendor;
    if (policy == ImagePolicy::vendor_only) {
        vendor.hint = "build it from Debian packages instead: noxsup image build " + os;
        co_return vendor;
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
        auto error = std::move(result).error();
        error.hint =
            "look at the network, or build it from Debian packages: noxsup image build " + os;
        co_return error;
    }
    co_return result;
}

asio::awaitable<Result<Image>> ImageService::build(std::string os, std::string arch,
                                                   std::string package_mirror,
                                                   ProgressCallback progress) {
    NOXSUP_CO_TRY_VALUE(const auto entry, catalog_.find(os, arch));
    // Packages are signed, so plain http does.
    if (!package_mirror.empty()) NOXSUP_CO_TRY(check_image_url(package_mirror, true));
    auto locking = lock(entry.name, progress);
    auto held = co_await std::move(locking);
    if (!held) co_return std::move(held).error();
    auto building = build_locked(entry, std::move(package_mirror), progress);
    co_return co_await std::move(building);
}

asio::awaitable<Result<std::string>> ImageService::published_digest(CatalogImage entry) {
    const UniqueFd file(::memfd_create("noxsup-checksums", MFD_CLOEXEC));
    if (!file) co_return errno_error("make a memory file", errno);
    FetchRequest request;
    request.url = entry.checksums_url;
    request.output_fd = file.get();
    request.max_bytes = checksums_limit;
    request.allow_http = catalog_.mirror().allow_http;
    request.ca_file = catalog_.mirror().ca_file;
    request.text = true;
    request.attempts = 2;
    request.connect_timeout = config_.connect_timeout;
    request.stall_timeout = config_.stall_timeout;
    request.retry_delay = config_.retry_delay;
    auto fetching = worker_.fetch(std::move(request), ProgressCallback());
    const auto fetched = co_await std::move(fetching);
    if (!fetched) co_return fetched.error();
    if (::lseek(file.get(), 0, SEEK_SET) != 0) co_return errno_error("read SHA512SUMS", errno);
    NOXSUP_CO_TRY_VALUE(const auto text, read_all(file.get(), checksums_limit, "SHA512SUMS"));
    co_return find_sha512(text, entry.file_name);
}

asio::awaitable<Result<PullResult>> ImageService::pull_locked(CatalogImage entry,
                                                              ProgressCallback progress) {
    NOXSUP_CO_TRY_VALUE(const auto before,
                        store_.current(entry.name, entry.os, entry.release, entry.arch));
    PullResult result;
    std::string last_expected;
    // A second round for a part that was stale, or a vendor who published between the two requests.
    for (int round = 0;; ++round) {
        auto asking = published_digest(entry);
        auto expected = co_await std::move(asking);
        if (!expected) co_return std::move(expected).error();
        NOXSUP_CO_TRY_VALUE(const auto known, store_.list());
        const auto same = std::ranges::find(known, *expected, &Image::vendor_sha512);
        if (same != known.end()) {
            result.image = *same;
            if (!before || before->digest != same->digest) {
                NOXSUP_CO_TRY(store_.set_name(entry.name, same->digest));
                NOXSUP_CO_TRY_VALUE(result.image, store_.by_digest(same->digest));
            }
            break;
        }
        NOXSUP_CO_TRY_VALUE(const auto part, Part::open(store_.part_path(entry.name)));
        FetchRequest request;
        request.url = entry.image_url;
        request.output_fd = part.fd.get();
        request.state_fd = part.state_fd.get();
        request.max_bytes = config_.max_download_bytes;
        request.allow_http = catalog_.mirror().allow_http;
        request.ca_file = catalog_.mirror().ca_file;
        request.connect_timeout = config_.connect_timeout;
        request.stall_timeout = config_.stall_timeout;
        request.retry_delay = config_.retry_delay;
        auto fetching = worker_.fetch(std::move(request), progress);
        const auto fetched = co_await std::move(fetching);
        if (!fetched) co_return fetched.error();
        auto hashing = worker_.digest(part.fd.get(), progress);
        const auto digest = co_await std::move(hashing);
        if (!digest) co_return digest.error();
        if (digest->sha512 != *expected) {
            part.discard();
            const bool hopeful = fetched->resumed || *expected != last_expected;
            last_expected = *expected;
            if (round < 2 && hopeful) continue;
            co_return mismatch(entry.image_url, "sha512:" + *expected, "sha512:" + digest->sha512);
        }
        auto inspecting = worker_.inspect(part.fd.get(), false);
        auto facts = co_await std::move(inspecting);
        if (facts && facts->kind != FileKind::qcow2) {
            facts = Error{ErrorCode::image_invalid, "not a qcow2 image"};
        }
        if (!facts) {
            part.discard();
            co_return std::move(facts).error().context(entry.image_url);
        }
        auto image = catalog_metadata(entry, ImageOrigin::vendor);
        image.digest = digest->sha256;
        image.vendor_sha512 = *expected;
        image.source = entry.image_url;
        image.virtual_bytes = facts->virtual_bytes;
        NOXSUP_CO_TRY_VALUE(result.image, store_.adopt(part.file, image, entry.name));
        part.discard();
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

asio::awaitable<Result<Image>> ImageService::adopt_import(int source_fd, ImportPlan plan,
                                                          bool accept_raw,
                                                          ProgressCallback progress) {
    // A private copy: nobody can change it between the look at its header and the conversion.
    NOXSUP_CO_TRY_VALUE(const auto scratch, make_scratch(store_.directory()));
    UnpackRequest unpacking;
    unpacking.input_fd = source_fd;
    unpacking.output_fd = scratch.get();
    unpacking.max_bytes = config_.max_image_bytes;
    auto copying = worker_.unpack(unpacking, progress);
    const auto copied = co_await std::move(copying);
    if (!copied) co_return copied.error();
    const NewFile output(store_.new_path(plan.name));
    NOXSUP_CO_TRY_VALUE(const auto fd,
                        open_file(output.path(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    ConvertRequest conversion;
    conversion.input_fd = scratch.get();
    conversion.output_fd = fd.get();
    conversion.accept_raw = accept_raw;
    conversion.max_virtual_bytes = config_.max_image_bytes;
    auto converting = worker_.convert(conversion, progress);
    const auto converted = co_await std::move(converting);
    if (!converted) co_return converted.error();
    // The worker's user had it while it wrote; from here on it is ours, judged by a fresh process.
    if (::fchown(fd.get(), ::geteuid(), ::getegid()) != 0)
        co_return errno_error("take the image over", errno);
    auto inspecting = worker_.inspect(fd.get(), false);
    const auto facts = co_await std::move(inspecting);
    if (!facts) co_return facts.error();
    auto hashing = worker_.digest(fd.get(), progress);
    const auto digest = co_await std::move(hashing);
    if (!digest) co_return digest.error();
    if (plan.any_name) {
        auto same = store_.by_digest(digest->sha256);
        if (same && !same->names.empty()) co_return same;
    }
    plan.metadata.digest = digest->sha256;
    plan.metadata.virtual_bytes = facts->virtual_bytes;
    co_return store_.adopt(output.path(), plan.metadata, plan.name);
}

asio::awaitable<Result<ImageService::HeldImport>> ImageService::hold_import(
    ImportWish wish, std::function<Result<std::optional<Image>>()> known,
    ProgressCallback progress) {
    HeldImport held;
    // Planned again under the lock: whoever held it before may have taken the name, or made the
    // very image.
    for (std::string locked;;) {
        if (known) {
            NOXSUP_CO_TRY_VALUE(held.known, known());
            if (held.known) co_return held;
        }
        NOXSUP_CO_TRY_VALUE(held.plan, plan_import(catalog_, store_, wish));
        if (held.plan.name == std::exchange(locked, held.plan.name)) co_return held;
        held.lock.reset();
        auto locking = lock(held.plan.name, progress);
        auto next = co_await std::move(locking);
        if (!next) co_return std::move(next).error();
        held.lock = std::move(*next);
    }
}

asio::awaitable<Result<Image>> ImageService::import(ImportRequest request,
                                                    ProgressCallback progress) {
    struct stat info {};
    if (::fstat(request.fd, &info) != 0) {
        co_return errno_error("import " + request.source, errno, ErrorCode::unreadable_file);
    }
    if (!S_ISREG(info.st_mode)) {
        co_return Error{
            ErrorCode::unreadable_file,
            "import " + escape_for_terminal(request.source) + ": it is not a regular file"};
    }
    NOXSUP_CO_TRY(store_.prepare());
    ImportWish wish;
    wish.source = fs::path(request.source).filename().string();
    wish.name = request.name;
    wish.os = request.os;
    wish.arch = request.arch;
    wish.any_name = request.any_name;
    auto holding = hold_import(std::move(wish), {}, progress);
    auto held = co_await std::move(holding);
    if (!held) co_return std::move(held).error();
    auto adopting = adopt_import(request.fd, std::move(held->plan), request.accept_raw, progress);
    auto image = co_await std::move(adopting);
    if (!image)
        co_return std::move(image).error().context("import " + escape_for_terminal(request.source));
    co_return image;
}

Result<std::optional<Image>> ImageService::imported_before(
    const ImportUrlRequest& request, const std::optional<ExpectedDigest>& expected) const {
    NOXSUP_TRY_VALUE(const auto known, store_.list());
    const bool by_sha256 = expected && expected->algorithm == "sha256";
    for (const auto& image : known) {
        const bool same = image.origin == ImageOrigin::import && image.source == request.url &&
                          !by_sha256 && (!expected || image.vendor_sha512 == expected->hex);
        const bool named = request.name.empty() ||
                           std::ranges::find(image.names, request.name) != image.names.end();
        if (same && named) return std::optional(image);
    }
    return std::optional<Image>();
}

asio::awaitable<Result<Image>> ImageService::import_url(ImportUrlRequest request,
                                                        ProgressCallback progress) {
    NOXSUP_CO_TRY(check_image_url(request.url, catalog_.mirror().allow_http));
    std::optional<ExpectedDigest> expected;
    if (!request.digest.empty()) {
        NOXSUP_CO_TRY_VALUE(expected, parse_expected_digest(request.digest));
    }
    NOXSUP_CO_TRY(store_.prepare());
    ImportWish wish;
    wish.source = request.url;
    wish.name = request.name;
    wish.os = request.os;
    wish.arch = request.arch;
    wish.any_name = request.any_name;
    auto holding = hold_import(
        std::move(wish), [&] { return imported_before(request, expected); }, progress);
    auto held = co_await std::move(holding);
    if (!held) co_return std::move(held).error();
    if (held->known) co_return std::move(*held->known);
    NOXSUP_CO_TRY_VALUE(const auto part, Part::open(store_.part_path(held->plan.name)));
    FetchRequest fetch;
    fetch.url = request.url;
    fetch.output_fd = part.fd.get();
    fetch.state_fd = part.state_fd.get();
    fetch.max_bytes = config_.max_download_bytes;
    fetch.allow_http = catalog_.mirror().allow_http;
    fetch.ca_file = catalog_.mirror().ca_file;
    fetch.connect_timeout = config_.connect_timeout;
    fetch.stall_timeout = config_.stall_timeout;
    fetch.retry_delay = config_.retry_delay;
    auto fetching = worker_.fetch(std::move(fetch), progress);
    auto fetched = co_await std::move(fetching);
    if (!fetched) {
        auto error = std::move(fetched).error();
        // No vendor of ours, so nothing that a build could replace.
        if (error.code == ErrorCode::vendor_unreachable) error.code = ErrorCode::download_failed;
        co_return error;
    }
    auto hashing = worker_.digest(part.fd.get(), progress);
    auto digest = co_await std::move(hashing);
    if (!digest) co_return std::move(digest).error();
    if (expected) {
        const auto& got = expected->algorithm == "sha256" ? digest->sha256 : digest->sha512;
        if (got != expected->hex) {
            part.discard();
            co_return mismatch(request.url, request.digest, expected->algorithm + ":" + got);
        }
    }
    held->plan.metadata.vendor_sha512 = digest->sha512;
    auto adopting =
        adopt_import(part.fd.get(), std::move(held->plan), request.accept_raw, progress);
    auto image = co_await std::move(adopting);
    if (!image && image.error().code == ErrorCode::interrupted) co_return std::move(image).error();
    part.discard();
    if (!image)
        co_return std::move(image).error().context("import " + escape_for_terminal(request.url));
    co_return image;
}

asio::awaitable<Result<>> ImageService::verify(Image image, ProgressCallback progress) {
    NOXSUP_CO_TRY_VALUE(const auto fd, store_.open(image));
    auto hashing = worker_.digest(fd.get(), progress);
    auto digest = co_await std::move(hashing);
    if (!digest) co_return std::move(digest).error();
    if (digest->sha256 == image.digest) co_return Result<>();
    auto error = mismatch("image " + image.display_name(), "sha256:" + image.digest,
                          "sha256:" + digest->sha256);
    error.hint =
        "the file was changed or the medium is failing; VMs on it are at risk. Pull or import it "
        "again";
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
