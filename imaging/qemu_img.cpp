#include "imaging/qemu_img.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "imaging/own_disk.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {

namespace asio = boost::asio;
namespace fs = std::filesystem;

namespace {

Result<> check_size(std::uint64_t virtual_bytes) {
    if (virtual_bytes != 0 && virtual_bytes % 512 == 0) return {};
    return Error{ErrorCode::invalid_size,
                 "a disk of " + std::to_string(virtual_bytes) + " bytes: not a multiple of 512"};
}

Result<> check_absent(const fs::path& path) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) == 0) {
        return Error{ErrorCode::already_exists, path.string() + " exists already"};
    }
    return {};
}

/// Removes a file that qemu-img began and did not finish, also when the caller is cancelled.
class UnfinishedFile {
  public:
    explicit UnfinishedFile(fs::path path) : path_(std::move(path)) {}
    UnfinishedFile(const UnfinishedFile&) = delete;
    UnfinishedFile& operator=(const UnfinishedFile&) = delete;
    ~UnfinishedFile() {
        if (!path_.empty()) ::unlink(path_.c_str());
    }
    /// Only ours to read: a disk holds its guest's secrets.
    Result<> finish() {
        if (::chmod(path_.c_str(), 0600) != 0) return errno_error("chmod " + path_.string(), errno);
        path_.clear();
        return {};
    }

  private:
    fs::path path_;
};

/// A name qemu-img takes for a file whatever it holds: absolute, so never "PROTOCOL:...".
Result<std::string> file_argument(const fs::path& path) {
    if (!path.is_absolute()) {
        return Error{ErrorCode::invalid_argument, path.string() + " is not an absolute path"};
    }
    return path.string();
}

}  // namespace

QemuImg::QemuImg(CommandRunner& runner, std::string program)
    : runner_(runner), program_(std::move(program)) {}

asio::awaitable<Result<std::string>> QemuImg::run(std::vector<std::string> arguments,
                                                  std::chrono::steady_clock::duration deadline) {
    Command command;
    command.deadline = deadline;
    command.argv = {program_};
    command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
    auto running = run_checked(runner_, std::move(command));
    auto output = co_await std::move(running);
    if (output) co_return output;
    co_return typed_qemu_img_error(std::move(output).error());
}

asio::awaitable<Result<>> QemuImg::create_overlay(OverlaySpec spec) {
    NOXSUP_CO_TRY(check_size(spec.virtual_bytes));
    if (spec.virtual_bytes < spec.backing_bytes) {
        co_return Error{ErrorCode::disk_too_small,
                        "a disk of " + format_bytes(spec.virtual_bytes) +
                            " is smaller than its image (" + format_bytes(spec.backing_bytes) + ")",
                        "ask for at least " + format_bytes(spec.backing_bytes) + " (--disk)"};
    }
    NOXSUP_CO_TRY_VALUE(const auto file, file_argument(spec.path));
    NOXSUP_CO_TRY(check_absent(spec.path));
    const auto base = spec.path.parent_path() / spec.backing;
    if (::access(base.c_str(), R_OK) != 0) {
        co_return errno_error("base image " + base.lexically_normal().string(), errno,
                              ErrorCode::image_not_found);
    }
    if (fs::path(spec.backing).is_absolute() ||
        spec.backing.substr(0, spec.backing.find('/')).find(':') != std::string::npos) {
        co_return Error{ErrorCode::invalid_argument,
                        "backing path " + spec.backing + " is not a relative path"};
    }
    UnfinishedFile unfinished(spec.path);
    std::vector<std::string> arguments{
        "create", "-q", "-f",         "qcow2", "-F",
        "qcow2",  "-b", spec.backing, file,    std::to_string(spec.virtual_bytes)};
    auto running = run(std::move(arguments));
    auto output = co_await std::move(running);
    if (!output) co_return std::move(output).error().context("make overlay " + file);
    co_return unfinished.finish();
}

asio::awaitable<Result<>> QemuImg::create_disk(fs::path path, std::uint64_t virtual_bytes) {
    NOXSUP_CO_TRY(check_size(virtual_bytes));
    NOXSUP_CO_TRY_VALUE(const auto file, file_argument(path));
    NOXSUP_CO_TRY(check_absent(path));
    UnfinishedFile unfinished(path);
    std::vector<std::string> arguments{"create", "-q", "-f",
                                       "qcow2",  file, std::to_string(virtual_bytes)};
    auto running = run(std::move(arguments));
    auto output = co_await std::move(running);
    if (!output) co_return std::move(output).error().context("make disk " + file);
    co_return unfinished.finish();
}

asio::awaitable<Result<>> QemuImg::resize(fs::path path, std::uint64_t virtual_bytes) {
    NOXSUP_CO_TRY(check_size(virtual_bytes));
    NOXSUP_CO_TRY_VALUE(const auto file, file_argument(path));
    std::vector<std::string> arguments{"resize", "-q", "-f",
                                       "qcow2",  file, std::to_string(virtual_bytes)};
    auto running = run(std::move(arguments));
    auto output = co_await std::move(running);
    if (!output) co_return std::move(output).error().context("resize " + file);
    co_return Result<>();
}

asio::awaitable<Result<DiskInfo>> QemuImg::info(fs::path path) {
    NOXSUP_CO_TRY_VALUE(const auto file, file_argument(path));
    std::vector<std::string> arguments{"info", "--output=json", "-f", "qcow2", file};
    auto running = run(std::move(arguments));
    auto output = co_await std::move(running);
    if (!output) {
        auto error = std::move(output).error();
        if (error.message.find("not in qcow2 format") != std::string::npos)
            error.code = ErrorCode::image_invalid;
        if (error.message.find("No such file") != std::string::npos)
            error.code = ErrorCode::unreadable_file;
        co_return std::move(error).context("look at " + file);
    }
    NOXSUP_CO_TRY_VALUE(const auto json, parse_json(*output));
    DiskInfo info;
    NOXSUP_CO_TRY_VALUE(info.format, json_member<std::string>(json, "format"));
    NOXSUP_CO_TRY_VALUE(info.virtual_bytes, json_member<std::uint64_t>(json, "virtual-size"));
    NOXSUP_CO_TRY_VALUE(info.used_bytes, json_member_or<std::uint64_t>(json, "actual-size", 0));
    NOXSUP_CO_TRY_VALUE(const auto backing,
                        json_member_or<std::string>(json, "backing-filename", ""));
    NOXSUP_CO_TRY_VALUE(const auto backing_format,
                        json_member_or<std::string>(json, "backing-filename-format", ""));
    if (!backing.empty()) info.backing = backing;
    if (!backing_format.empty()) info.backing_format = backing_format;
    NOXSUP_CO_TRY_VALUE(info.dirty, json_member_or<bool>(json, "dirty-flag", false));
    NOXSUP_CO_TRY_VALUE(const auto specific,
                        json_member_or<Json>(json, "format-specific", Json::object()));
    NOXSUP_CO_TRY_VALUE(const auto data, json_member_or<Json>(specific, "data", Json::object()));
    NOXSUP_CO_TRY_VALUE(info.corrupt, json_member_or<bool>(data, "corrupt", false));
    co_return info;
}

}  // namespace noxsup::imaging
