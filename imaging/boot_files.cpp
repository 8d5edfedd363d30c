#include "imaging/boot_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "imaging/image_files.hpp"
#include "supervisor/base/checksum.hpp"
#include "supervisor/base/file.hpp"

namespace noxsup::imaging {

namespace asio = boost::asio;
namespace fs = std::filesystem;

namespace {

constexpr int notes_version = 1;
constexpr std::uint64_t max_file_bytes = std::uint64_t{512} << 20;
constexpr std::size_t max_notes_bytes = std::size_t{64} << 10;

/// With the guest's serial console, where the menu names another screen alone.
std::string with_console(std::string command_line, const std::string& arch) {
    const std::string console = arch == "arm64" ? "console=ttyAMA0" : "console=ttyS0";
    if (command_line.find(console) != std::string::npos) return command_line;
    return command_line + (command_line.empty() ? "" : " ") + console;
}

/// The guest's disk is not what we take, or more than the worker could take; the rest is an error
/// like any other.
bool is_reason(const Error& error) {
    switch (error.code) {
        case ErrorCode::invalid_argument:
        case ErrorCode::image_invalid:
        case ErrorCode::image_hostile:
        case ErrorCode::unreadable_file:
        case ErrorCode::command_failed:
        case ErrorCode::protocol_error:
        case ErrorCode::timeout:
            return true;
        default:
            return false;
    }
}

std::string reason_against(const BootReport& report, const std::string& arch) {
    if (report.kernel_arch != arch) return "its kernel is none that QEMU loads for " + arch;
    if (report.entry.initrd.empty()) return "it has no initial RAM disk";
    if (!report.takes_units) return "its initial RAM disk is not made by initramfs-tools";
    return {};
}

/// QEMU's own user opens it again by its descriptor, so it is readable to all who get there.
Result<> put_in_place(const NewFile& file, const UniqueFd& fd, const fs::path& place) {
    if (::fchmod(fd.get(), 0444) != 0) return errno_error("chmod " + file.path().string(), errno);
    if (::fsync(fd.get()) != 0) return errno_error("fsync " + file.path().string(), errno);
    if (::rename(file.path().c_str(), place.c_str()) != 0)
        return errno_error("rename " + place.string(), errno);
    return {};
}

Result<UniqueFd> make(const NewFile& file) {
    return open_file(file.path(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
}

/// Behind an archive, at a multiple of four.
Result<> append(const UniqueFd& fd, std::string_view extra) {
    const auto end = ::lseek(fd.get(), 0, SEEK_END);
    if (end < 0) return errno_error("seek", errno);
    const std::string padding(static_cast<std::size_t>((4 - end % 4) % 4), '\0');
    return write_all(fd.get(), padding + std::string(extra), "the initial RAM disk");
}

Json notes_of(const BootLook& look, const std::string& extra_mark) {
    Json notes{{"version", notes_version}, {"extra", extra_mark}};
    if (look.direct) {
        notes["source"] = look.direct->source;
        notes["kernel"] = look.direct->kernel_name;
        notes["command_line"] = look.direct->command_line;
    } else {
        notes["why_not"] = look.why_not;
    }
    return notes;
}

/// Nothing where they are of another version of ours, or damaged: it is looked at anew then.
std::optional<BootLook> read_notes(const fs::path& directory, const std::string& extra_mark) {
    const auto text = read_file(directory / "boot.json", max_notes_bytes);
    const auto notes = text ? parse_json(*text) : Result<Json>(text.error());
    if (!notes) return std::nullopt;
    const auto version = json_member<int>(*notes, "version");
    const auto mark = json_member<std::string>(*notes, "extra");
    if (!version || *version != notes_version || !mark || *mark != extra_mark) return std::nullopt;
    BootLook look;
    if (const auto why_not = json_member<std::string>(*notes, "why_not")) {
        look.why_not = *why_not;
        return look;
    }
    const auto source = json_member<std::string>(*notes, "source");
    const auto kernel = json_member<std::string>(*notes, "kernel");
    const auto command_line = json_member<std::string>(*notes, "command_line");
    if (!source || !kernel || !command_line) return std::nullopt;
    std::error_code ignored;
    for (const auto* name : {"kernel", "initrd"}) {
        if (!fs::is_regular_file(directory / name, ignored)) return std::nullopt;
    }
    look.direct = DirectBoot{*source, *kernel, *command_line};
    return look;
}

}  // namespace

BootFiles::BootFiles(const ImageStore& store, ImageWorker& worker, std::string extra)
    : store_(store), worker_(worker), extra_(std::move(extra)) {}

fs::path BootFiles::image_directory(const std::string& digest) const {
    return store_.boot_directory(digest);
}

asio::awaitable<Result<BootLook>> BootFiles::of_image(Image image, std::string arch) {
    const auto mark = json_checksum(Json(extra_));
    const auto directory = image_directory(image.digest);
    if (auto known = read_notes(directory, mark)) co_return std::move(*known);
    auto locking = wait_for_lock(store_, "boot-" + image.digest, {});
    const auto held = co_await std::move(locking);
    if (!held) co_return held.error();
    if (auto known = read_notes(directory, mark)) co_return std::move(*known);
    NOXSUP_CO_TRY(make_directories(directory, 0755));
    BootQuery query;
    query.disk = image.path;
    query.directory = directory;
    query.arch = std::move(arch);
    auto looking = look(std::move(query));
    auto found = co_await std::move(looking);
    if (!found) co_return found;
    NOXSUP_CO_TRY(
        write_file_atomic(directory / "boot.json", notes_of(*found, mark).dump(1) + "\n", 0644));
    co_return found;
}

asio::awaitable<Result<BootLook>> BootFiles::of_disk(BootQuery query) {
    NOXSUP_CO_TRY(make_directories(query.directory, 0700));
    auto looking = look(std::move(query));
    co_return co_await std::move(looking);
}

asio::awaitable<Result<BootLook>> BootFiles::look(BootQuery query) {
    BootRequest request;
    request.known = query.known;
    request.max_file_bytes = max_file_bytes;
    NOXSUP_CO_TRY_VALUE(const auto disk, open_file(query.disk, O_RDONLY | O_NOFOLLOW));
    request.chain.push_back(disk.get());
    UniqueFd base;
    if (!query.base.empty()) {
        NOXSUP_CO_TRY_VALUE(base, open_file(query.base, O_RDONLY | O_NOFOLLOW));
        request.chain.push_back(base.get());
    }
    const NewFile kernel(query.directory / "kernel.new");
    const NewFile initrd(query.directory / "initrd.new");
    NOXSUP_CO_TRY_VALUE(const auto kernel_fd, make(kernel));
    NOXSUP_CO_TRY_VALUE(const auto initrd_fd, make(initrd));
    request.kernel_fd = kernel_fd.get();
    request.initrd_fd = initrd_fd.get();
    auto reading = worker_.read_boot(std::move(request));
    const auto report = co_await std::move(reading);
    BootLook look;
    if (!report && !is_reason(report.error())) co_return report.error();
    look.why_not = report ? reason_against(*report, query.arch) : report.error().message;
    if (!look.why_not.empty()) co_return look;
    if (report->copied) {
        NOXSUP_CO_TRY(append(initrd_fd, extra_));
        NOXSUP_CO_TRY(put_in_place(kernel, kernel_fd, query.directory / "kernel"));
        NOXSUP_CO_TRY(put_in_place(initrd, initrd_fd, query.directory / "initrd"));
    }
    look.direct = DirectBoot{report->source, report->entry.kernel,
                             with_console(report->entry.command_line, query.arch)};
    co_return look;
}

}  // namespace noxsup::imaging
