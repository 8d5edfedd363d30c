#include "supervisor/daemon/self_update.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "supervisor/base/argv.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::daemon {
namespace {

constexpr std::size_t max_command_line_bytes = std::size_t{64} << 10;

}  // namespace

SelfUpdate::SelfUpdate() {
    std::error_code failure;
    program_ = std::filesystem::read_symlink("/proc/self/exe", failure);
    struct stat info {};
    if (::stat("/proc/self/exe", &info) == 0) file_ = File{info.st_dev, info.st_ino};
    const auto fd = open_file("/proc/self/cmdline", O_RDONLY);
    if (!fd) return;
    const auto line = read_all(fd->get(), max_command_line_bytes, "/proc/self/cmdline");
    if (!line) return;
    auto words = split(*line, '\0');
    // Each argument ends with a NUL, so the last part is empty and none.
    if (!words.empty()) words.pop_back();
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (words[i] == "--ready-fd") {
            ++i;
        } else if (!words[i].starts_with("--ready-fd=")) {
            arguments_.push_back(words[i]);
        }
    }
}

bool SelfUpdate::is_replaced() const {
    struct stat info {};
    if (arguments_.empty() || ::stat(program_.c_str(), &info) != 0) return false;
    return File{info.st_dev, info.st_ino} != file_ && ::access(program_.c_str(), X_OK) == 0;
}

Error SelfUpdate::execute() const {
    const auto argv = null_terminated(arguments_);
    ::execv(program_.c_str(), argv.data());
    return errno_error("run " + program_, errno);
}

}  // namespace noxsup::daemon
