#include "netbridge/macvtap_device.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <charconv>
#include <filesystem>

#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::netbridge {
namespace {

namespace fs = std::filesystem;

std::string node_name(const Link& link) {
    return "tap" + std::to_string(link.index);
}

/// "247:3" in sysfs.
std::optional<dev_t> parse_numbers(std::string_view text) {
    unsigned numbers[2]{};
    const auto colon = text.find(':');
    if (colon == text.npos) return std::nullopt;
    const std::string_view words[] = {text.substr(0, colon), text.substr(colon + 1)};
    for (int i = 0; i < 2; ++i) {
        const auto* end = words[i].data() + words[i].size();
        const auto [stop, failure] = std::from_chars(words[i].data(), end, numbers[i]);
        if (failure != std::errc() || stop != end) return std::nullopt;
    }
    return makedev(numbers[0], numbers[1]);
}

/// Nothing when /sys is not of this network namespace.
std::optional<dev_t> device_of(const Link& link) {
    constexpr std::size_t limit = 4096;
    const auto file = fs::path("/sys/class/net") / link.name / "macvtap" / node_name(link) / "dev";
    const auto text = read_file(file, limit);
    return text ? parse_numbers(trim(*text)) : std::nullopt;
}

bool is_node_of(const struct stat& info, dev_t device) {
    return S_ISCHR(info.st_mode) && info.st_rdev == device;
}

Error no_node(const Link& link, dev_t device) {
    const auto path = "/dev/" + node_name(link);
    struct stat info {};
    const bool others = ::stat(path.c_str(), &info) == 0;
    const auto numbers = std::to_string(major(device)) + ":" + std::to_string(minor(device));
    return {ErrorCode::wrong_state,
            path + (others ? " is another device than that of " : " is not there for ") +
                link.name + " (character device " + numbers + ")",
            others ? "a macvtap of another network namespace has the name; start the VM again"
                   : "the host needs devtmpfs or udev in /dev; in a container pass the device in, "
                     "or use --network bridge"};
}

Result<UniqueFd> open_node(const Link& link, dev_t device) {
    // The second is udev's, and true whatever the first is called.
    const std::string paths[] = {
        "/dev/" + node_name(link),
        "/dev/char/" + std::to_string(major(device)) + ":" + std::to_string(minor(device))};
    for (const auto& path : paths) {
        struct stat info {};
        if (::stat(path.c_str(), &info) != 0 || !is_node_of(info, device)) continue;
        UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
        const int failure = errno;
        if (fd && ::fstat(fd.get(), &info) == 0 && is_node_of(info, device)) return fd;
        if (fd) continue;
        auto error = errno_error("open " + path, failure);
        if (failure == EACCES || failure == EPERM) {
            error.code = ErrorCode::host_lacks_right;
            error.hint = "run noxsup as root or through its system service";
        }
        return error;
    }
    return no_node(link, device);
}

/// Whether one of a process's descriptors is the device; nothing when it may not be looked at.
std::optional<bool> has_open(const fs::path& process, dev_t device) {
    std::error_code failure;
    fs::directory_iterator entry(process / "fd", failure);
    if (failure == std::errc::permission_denied) return std::nullopt;
    for (; !failure && entry != fs::directory_iterator(); entry.increment(failure)) {
        std::error_code ignored;
        // A look at a file could wait for a network; at what is called tapN it does not.
        const auto target = fs::read_symlink(entry->path(), ignored).filename().string();
        if (!target.starts_with("tap")) continue;
        struct stat info {};
        if (::stat(entry->path().c_str(), &info) == 0 && is_node_of(info, device)) return true;
    }
    return false;
}

}  // namespace

Result<std::vector<UniqueFd>> open_macvtap_queues(const Link& link, unsigned queues) {
    const auto device = device_of(link);
    if (!device) {
        return Error{ErrorCode::wrong_state,
                     "/sys does not tell the character device of macvtap " + link.name,
                     "it needs a /sys of the network namespace that noxsup runs in"};
    }
    ifreq request{};
    unsigned flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (queues > 1) flags |= IFF_MULTI_QUEUE;
    request.ifr_flags = static_cast<short>(flags);
    std::vector<UniqueFd> taps;
    while (taps.size() < queues) {
        NOXSUP_TRY_VALUE(auto tap, open_node(link, *device));
        if (::ioctl(tap.get(), TUNSETIFF, &request) != 0) {
            return errno_error("set up /dev/" + node_name(link), errno);
        }
        taps.push_back(std::move(tap));
    }
    return taps;
}

bool is_held_by_a_process(const Link& link) {
    const auto device = device_of(link);
    if (!device) return true;
    std::error_code failure;
    fs::directory_iterator entry("/proc", failure);
    if (failure) return true;
    for (; !failure && entry != fs::directory_iterator(); entry.increment(failure)) {
        const auto pid = entry->path().filename().string();
        if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
        const auto open = has_open(entry->path(), *device);
        if (!open || *open) return true;
    }
    return false;
}

}  // namespace noxsup::netbridge
