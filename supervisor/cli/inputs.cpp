#include "supervisor/cli/inputs.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "imaging/catalog.hpp"
#include "imaging/worker_client.hpp"
#include "supervisor/base/command.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::cli {
namespace {

constexpr std::size_t max_key_file = std::size_t{64} << 10;
constexpr std::size_t max_document = std::size_t{512} << 10;

constexpr std::array<std::string_view, 9> image_endings = {".qcow2", ".img", ".raw", ".xz",  ".gz",
                                                           ".zst",   ".bz2", ".tar", ".vmdk"};

bool is_key_line(std::string_view line) {
    return line.starts_with("ssh-") || line.starts_with("ecdsa-sha2-") ||
           line.starts_with("sk-ssh-") || line.starts_with("sk-ecdsa-");
}

Error too_long(const std::string& source) {
    return {ErrorCode::invalid_cloud_init, source + " has more than " + format_bytes(max_document),
            "put large files into the image, or fetch them in a runcmd"};
}

Result<std::string> fetch_text(Session& session, const std::string& url) {
    const UniqueFd file(::memfd_create("cloud-init", MFD_CLOEXEC));
    if (!file) return errno_error("memory for " + url, errno);
    ProcessRunner runner;
    imaging::WorkerClient worker(runner);
    imaging::FetchRequest request;
    request.url = url;
    request.output_fd = file.get();
    request.max_bytes = max_document;
    request.text = true;
    const auto trust = imaging::trust_from_environment();
    request.allow_http = trust.allow_http;
    request.ca_file = trust.ca_file;
    auto fetch = worker.fetch(std::move(request), {});
    auto outcome = session.run(std::move(fetch));
    if (!outcome) {
        auto error = std::move(outcome).error();
        // There is no vendor here, and nothing that could be built instead.
        if (error.code == ErrorCode::vendor_unreachable) error.code = ErrorCode::download_failed;
        if (error.hint.empty())
            error.hint = "look at the address, or download it yourself: --cloud-init FILE";
        return std::move(error).context("--cloud-init " + url);
    }
    if (::lseek(file.get(), 0, SEEK_SET) != 0) return errno_error("rewind " + url, errno);
    return read_all(file.get(), max_document, url);
}

Result<std::string> read_small_file(const std::string& path, std::size_t limit) {
    auto text = read_file(path, limit);
    if (!text) {
        auto error = std::move(text).error();
        error.code = ErrorCode::unreadable_file;
        return error;
    }
    return text;
}

}  // namespace

ImageSource classify_image(std::string_view word) {
    if (word.find("://") != std::string_view::npos) return ImageSource::url;
    if (word.find('/') != std::string_view::npos) return ImageSource::file;
    const bool ending = std::ranges::any_of(
        image_endings, [&](std::string_view known) { return word.ends_with(known); });
    return ending ? ImageSource::file : ImageSource::name;
}

Result<UniqueFd> open_image_file(const std::string& path) {
    // O_NONBLOCK: opening a FIFO must not wait for somebody to write to it.
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!fd) return errno_error("open " + path, errno, ErrorCode::unreadable_file);
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) {
        return errno_error("look at " + path, errno, ErrorCode::unreadable_file);
    }
    if (!S_ISREG(status.st_mode)) {
        return Error{ErrorCode::unreadable_file, path + " is not a regular file",
                     "an image is a file; copy a device's content into one first"};
    }
    return fd;
}

Result<std::vector<std::string>> read_public_keys(const std::string& path) {
    NOXSUP_TRY_VALUE(const auto text, read_small_file(path, max_key_file));
    if (text.find("PRIVATE KEY-----") != std::string::npos) {
        return Error{ErrorCode::invalid_argument, path + " is a private key",
                     "give the public one: " + path + ".pub"};
    }
    std::vector<std::string> keys;
    for (const auto& raw : split(text, '\n')) {
        const auto line = trim(raw);
        if (line.empty() || line.starts_with("#")) continue;
        if (!is_key_line(line) || !is_valid_utf8(line)) {
            return Error{ErrorCode::invalid_argument, path + " holds no public ssh key",
                         "give a file like ~/.ssh/id_ed25519.pub"};
        }
        keys.emplace_back(line);
    }
    if (keys.empty()) {
        return Error{ErrorCode::invalid_argument, path + " holds no public ssh key",
                     "give a file like ~/.ssh/id_ed25519.pub"};
    }
    return keys;
}

std::vector<std::string> own_public_keys() {
    const char* home = ::getenv("HOME");
    if (home == nullptr || *home == '\0') return {};
    std::vector<std::filesystem::path> files;
    std::error_code failure;
    std::filesystem::directory_iterator entries(std::filesystem::path(home) / ".ssh", failure);
    for (; !failure && entries != std::filesystem::directory_iterator();
         entries.increment(failure)) {
        const auto name = entries->path().filename().string();
        // A certificate is no key that a guest could be given.
        if (name.starts_with("id_") && name.ends_with(".pub") && !name.ends_with("-cert.pub")) {
            files.push_back(entries->path());
        }
    }
    std::ranges::sort(files);
    std::vector<std::string> keys;
    for (const auto& file : files) {
        const auto found = read_public_keys(file.string());
        if (found) keys.insert(keys.end(), found->begin(), found->end());
    }
    return keys;
}

Result<Json> read_document(Session& session, const std::string& source) {
    std::string text;
    std::string name = source;
    if (source == "-") {
        name = "standard input";
        NOXSUP_TRY_VALUE(text, read_all(STDIN_FILENO, max_document, name));
    } else if (source.find("://") != std::string::npos) {
        NOXSUP_TRY_VALUE(text, fetch_text(session, source));
    } else {
        std::error_code ignored;
        if (std::filesystem::is_regular_file(source, ignored) &&
            std::filesystem::file_size(source, ignored) > max_document) {
            return too_long(source);
        }
        NOXSUP_TRY_VALUE(text, read_small_file(source, max_document));
    }
    if (!is_valid_utf8(text)) {
        return Error{ErrorCode::invalid_cloud_init, name + " is not UTF-8 text",
                     "cloud-init documents are text"};
    }
    return Json{{"name", name}, {"text", text}};
}

}  // namespace noxsup::cli
