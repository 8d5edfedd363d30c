#include "imaging/own_disk.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <span>

#include "imaging/qcow2_header.hpp"
#include "supervisor/base/file.hpp"

namespace noxsup::imaging {
namespace {

constexpr std::size_t start_bytes = 4096;

Json node(const std::filesystem::path& path, Json backing) {
    return {{"driver", "qcow2"},
            {"backing", std::move(backing)},
            {"file", {{"driver", "file"}, {"filename", path.string()}}}};
}

}  // namespace

Result<> check_own_disk(const std::filesystem::path& path) {
    NOXSUP_TRY_VALUE(const auto fd, open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    std::string start(start_bytes, '\0');
    const auto got = ::pread(fd.get(), start.data(), start.size(), 0);
    if (got < 0) return errno_error("read " + path.string(), errno);
    const auto bytes = std::as_bytes(std::span(start.data(), static_cast<std::size_t>(got)));
    auto judged = check_own_qcow2(bytes);
    if (!judged) return std::move(judged).error().context(path.string());
    return {};
}

std::string describe_disk(const std::filesystem::path& path,
                          const std::optional<std::filesystem::path>& base) {
    return "json:" + dump_json(node(path, base ? node(*base, nullptr) : Json()));
}

Error typed_qemu_img_error(Error error) {
    const auto has = [&error](std::string_view text) {
        if (error.message.find(text) != std::string::npos) return true;
        for (const auto& line : error.evidence) {
            if (line.find(text) != std::string::npos) return true;
        }
        return false;
    };
    if (error.code == ErrorCode::host_lacks_tool) error.hint = "apt install qemu-utils";
    if (error.code != ErrorCode::command_failed) return error;
    if (has("No space left on device") || has("Disk quota exceeded")) {
        error.code = ErrorCode::no_space;
        error.hint = "free some space on the file system of the home";
    } else if (has("Failed to get") && has("lock")) {
        error.code = ErrorCode::image_in_use;
        error.hint = "stop the VM that has this disk open";
    } else if (has("shrink")) {
        error.code = ErrorCode::disk_too_small;
    }
    return error;
}

}  // namespace noxsup::imaging
