#include "imaging/vendor_source.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "imaging/signature.hpp"
#include "imaging/vendor_index.hpp"
#include "supervisor/base/async.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {

namespace asio = boost::asio;

namespace {

constexpr std::size_t list_limit = std::size_t{1} << 20;
constexpr std::size_t listing_limit = std::size_t{4} << 20;
constexpr std::size_t keyring_limit = std::size_t{1} << 20;
constexpr std::string_view beside_image = "{image}";

bool varies(std::string_view pattern) {
    return pattern.find('*') != std::string_view::npos;
}

Result<UniqueFd> memory_file(std::string_view content) {
    UniqueFd file(::memfd_create("noxsup-index", MFD_CLOEXEC));
    if (!file) return errno_error("make a memory file", errno);
    NOXSUP_TRY(write_all(file.get(), content, "a memory file"));
    return file;
}

Result<std::string> content_of(const UniqueFd& file, std::size_t limit, std::string_view what) {
    if (::lseek(file.get(), 0, SEEK_SET) != 0)
        return errno_error("read " + std::string(what), errno);
    return read_all(file.get(), limit, what);
}

Error not_named(const std::string& place, const std::string& pattern) {
    return {ErrorCode::download_failed, place + " names no " + pattern,
            "the vendor may have moved it or ended this release: 'noxsup image available' lists "
            "others, and catalog.json takes entries of your own"};
}

/// The first keyring that is installed, or nothing.
std::string installed_keyring(const std::vector<std::string>& keyrings) {
    for (const auto& path : keyrings) {
        if (::access(path.c_str(), F_OK) == 0) return path;
    }
    return {};
}

Result<UniqueFd> open_keyring(const std::string& path) {
    NOXSUP_TRY_VALUE(const auto text, read_file(path, keyring_limit));
    auto keys = binary_keys(text);
    if (!keys) return std::move(keys).error().context("keyring " + path);
    return memory_file(*keys);
}

/// A server that has the list but not its signature is no reason to build the image instead.
Error as_failed_download(Error error) {
    if (error.code == ErrorCode::vendor_unreachable) error.code = ErrorCode::download_failed;
    return error;
}

}  // namespace

VendorSource::VendorSource(const Catalog& catalog, ImageWorker& worker, FetchPatience patience)
    : catalog_(catalog), worker_(worker), patience_(patience) {}

asio::awaitable<Result<std::string>> VendorSource::text(std::string url, bool page) {
    NOXSUP_CO_TRY_VALUE(const auto file, memory_file({}));
    const auto limit = page ? listing_limit : list_limit;
    FetchRequest request;
    request.url = url;
    request.output_fd = file.get();
    request.max_bytes = limit;
    request.allow_http = catalog_.mirror().allow_http;
    request.ca_file = catalog_.mirror().ca_file;
    request.text = true;
    request.page = page;
    request.attempts = 2;
    request.connect_timeout = patience_.connect_timeout;
    request.stall_timeout = patience_.stall_timeout;
    request.retry_delay = patience_.retry_delay;
    auto fetching = worker_.fetch(std::move(request), ProgressCallback());
    const auto fetched = co_await std::move(fetching);
    if (!fetched) co_return fetched.error();
    co_return content_of(file, limit, url);
}

asio::awaitable<Result<std::string>> VendorSource::newest_in_listing(std::string directory,
                                                                     std::string pattern) {
    auto reading = text(directory, true);
    const auto listing = co_await std::move(reading);
    if (!listing) co_return listing.error();
    const auto name = newest_match(names_in_listing(*listing), pattern);
    if (!name) co_return not_named(directory, pattern);
    co_return *name;
}

asio::awaitable<Result<VendorSource::SignedList>> VendorSource::check_signature(
    CatalogImage image, std::string name, std::string list, std::string keyring) {
    const bool inside = image.signature == "inline";
    NOXSUP_CO_TRY_VALUE(const auto keys, open_keyring(keyring));
    NOXSUP_CO_TRY_VALUE(const auto data, memory_file(list));
    NOXSUP_CO_TRY_VALUE(const auto output, memory_file({}));
    UniqueFd signature;
    if (!inside) {
        auto reading =
            text(image.directory + replace_all(image.signature, "{checksums}", name), false);
        const auto detached = co_await std::move(reading);
        if (!detached) co_return as_failed_download(detached.error());
        NOXSUP_CO_TRY_VALUE(signature, memory_file(*detached));
    }
    SignatureRequest request;
    request.data_fd = data.get();
    request.signature_fd = signature.get();
    request.keyring_fd = keys.get();
    request.output_fd = output.get();
    auto checking = worker_.check_signature(request);
    auto signed_by = co_await std::move(checking);
    if (!signed_by)
        co_return std::move(signed_by).error().context(image.directory + name + ", " + keyring);
    SignedList result{std::move(list), std::move(*signed_by)};
    // Of a clear-signed list only what gpgv has vouched for.
    if (inside) {
        NOXSUP_CO_TRY_VALUE(result.text, content_of(output, list_limit, name));
    }
    co_return result;
}

asio::awaitable<Result<VendorSource::SignedList>> VendorSource::list_of(CatalogImage image,
                                                                        std::string name,
                                                                        ProgressCallback progress) {
    auto reading = text(image.directory + name, false);
    auto list = co_await std::move(reading);
    if (!list) co_return std::move(list).error();
    SignedList result;
    result.text = std::move(*list);
    if (image.signature.empty()) co_return result;
    const auto keyring = installed_keyring(image.keyrings);
    if (!keyring.empty()) {
        auto checking = check_signature(image, name, std::move(result.text), keyring);
        co_return co_await std::move(checking);
    }
    if (progress) {
        Progress report;
        report.stage = "verify";
        report.note = image.title() +
                      ": verified by digest over https alone, since no keyring of its vendor is "
                      "installed" +
                      (image.keyrings.empty() ? "" : " (" + join(image.keyrings, ", ") + ")");
        progress(report);
    }
    if (image.signature == "inline") {
        auto inner = clear_signed_text(result.text);
        if (!inner) co_return std::move(inner).error().context(image.directory + name);
        result.text = std::move(*inner);
    }
    co_return result;
}

asio::awaitable<Result<VendorFile>> VendorSource::newest(CatalogImage image,
                                                         ProgressCallback progress) {
    const bool beside = image.checksums.starts_with(beside_image);
    auto file = image.image;
    auto list_name = image.checksums;
    if (beside) {
        if (varies(file)) {
            auto looking = newest_in_listing(image.directory, file);
            NOXSUP_CO_TRY_VALUE(file, co_await std::move(looking));
        }
        list_name = file + list_name.substr(beside_image.size());
    } else if (varies(list_name)) {
        auto looking = newest_in_listing(image.directory, list_name);
        NOXSUP_CO_TRY_VALUE(list_name, co_await std::move(looking));
    }
    const auto list_url = image.directory + list_name;
    auto listing = list_of(image, list_name, progress);
    const auto list = co_await std::move(listing);
    if (!list) co_return list.error();
    const auto digests = parse_checksums(list->text);
    VendorFile result;
    result.signed_by = list->signed_by;
    if (beside) {
        const auto& pattern = image.digest_name.empty() ? file : image.digest_name;
        NOXSUP_CO_TRY_VALUE(result.digest, find_only_digest(digests, pattern, list_url));
    } else {
        if (varies(file)) {
            std::vector<std::string> names;
            names.reserve(digests.size());
            for (const auto& listed : digests) names.push_back(listed.name);
            const auto found = newest_match(names, file);
            if (!found) co_return not_named(list_url, file);
            file = *found;
        }
        NOXSUP_CO_TRY_VALUE(result.digest, find_digest(digests, file, list_url));
    }
    result.url = image.directory + file;
    co_return result;
}

}  // namespace noxsup::imaging
