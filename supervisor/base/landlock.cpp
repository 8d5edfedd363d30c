#include "supervisor/base/landlock.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace noxsup {
namespace {

struct RulesetAttributes {
    std::uint64_t handled_access_fs;
    std::uint64_t handled_access_net;
    std::uint64_t scoped;
};

struct __attribute__((packed)) PathBeneath {
    std::uint64_t allowed_access;
    std::int32_t parent_fd;
};

/// What makes sense on a file that is no directory.
constexpr std::uint64_t file_rights = landlock::execute | landlock::write_file |
                                      landlock::read_file | landlock::truncate |
                                      landlock::ioctl_device;
constexpr std::uint64_t scope_all = 3;
constexpr int rule_path_beneath = 1;

/// File rights by ABI: 13 in the first, then REFER, TRUNCATE, (none), IOCTL_DEV.
std::uint64_t known_file_rights(int abi) {
    constexpr std::uint64_t first = (1U << 13U) - 1;
    auto rights = first;
    if (abi >= 2) rights |= 1U << 13U;
    if (abi >= 3) rights |= landlock::truncate;
    if (abi >= 5) rights |= landlock::ioctl_device;
    return rights;
}

std::size_t attributes_size(int abi) {
    if (abi >= 6) return sizeof(RulesetAttributes);
    return abi >= 4 ? 2 * sizeof(std::uint64_t) : sizeof(std::uint64_t);
}

}  // namespace

int landlock_abi() {
    constexpr unsigned ask_version = 1;
    const auto abi = ::syscall(SYS_landlock_create_ruleset, nullptr, std::size_t{0}, ask_version);
    // ENOSYS, EOPNOTSUPP: a kernel without it, or one that was told to do without.
    return abi < 1 ? 0 : static_cast<int>(abi);
}

Result<LandlockRules> LandlockRules::make(std::uint64_t tcp) {
    const auto abi = landlock_abi();
    RulesetAttributes attributes{};
    attributes.handled_access_fs = known_file_rights(abi);
    attributes.handled_access_net = tcp;
    attributes.scoped = scope_all;
    UniqueFd fd(static_cast<int>(
        ::syscall(SYS_landlock_create_ruleset, &attributes, attributes_size(abi), 0U)));
    if (!fd) return errno_error("make a Landlock ruleset", errno);
    return LandlockRules(std::move(fd), attributes.handled_access_fs);
}

int LandlockRules::add(int fd, std::uint64_t access) const {
    struct stat info {};
    if (::fstat(fd, &info) != 0) return errno;
    const auto fitting = S_ISDIR(info.st_mode) ? access : access & file_rights;
    PathBeneath rule{fitting & handled_, fd};
    const auto outcome = ::syscall(SYS_landlock_add_rule, fd_.get(), rule_path_beneath, &rule, 0U);
    // EBADFD: no path leads there, so no rule is needed.
    return outcome == 0 || errno == EBADFD ? 0 : errno;
}

Result<> LandlockRules::allow(int fd, std::uint64_t access) const {
    const int failure = add(fd, access);
    if (failure != 0) return errno_error("add a Landlock rule", failure);
    return {};
}

Result<> LandlockRules::allow_path(const std::string& path, std::uint64_t access) const {
    const UniqueFd fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!fd) return {};
    auto outcome = allow(fd.get(), access);
    if (!outcome) return std::move(outcome).error().context(path);
    return outcome;
}

int LandlockRules::enforce() const {
    return ::syscall(SYS_landlock_restrict_self, fd_.get(), 0U) == 0 ? 0 : errno;
}

}  // namespace noxsup
