#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "imaging/image_files.hpp"
#include "imaging/image_service.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {

namespace asio = boost::asio;
namespace fs = std::filesystem;

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
    auto fetching = worker_.fetch(fetch_request(request.url, part), progress);
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
        const auto& got = digest_in(*digest, *expected);
        if (got != expected->hex) {
            part.discard();
            co_return digest_mismatch(request.url, request.digest, expected->algorithm + ":" + got);
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

}  // namespace noxsup::imaging
