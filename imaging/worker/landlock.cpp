#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "imaging/worker/confine.hpp"
#include "supervisor/base/unique_fd.hpp"

// The kernel's Landlock interface (include/uapi/linux/landlock.h), with the additions of later
// kernels than the build machine's headers know.
namespace noxsup::imaging::worker {
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

constexpr std::uint64_t execute = 1U << 0U;
constexpr std::uint64_t write_file = 1U << 1U;
constexpr std::uint64_t read_file = 1U << 2U;
constexpr std::uint64_t read_dir = 1U << 3U;
constexpr std::uint64_t truncate = 1U << 14U;
/// What makes sense on a file that is no directory.
constexpr std::uint64_t file_rights = execute | write_file | read_file | truncate;
constexpr std::uint64_t tcp_bind = 1U << 0U;
constexpr std::uint64_t tcp_connect = 1U << 1U;
constexpr std::uint64_t scope_all = 3;
constexpr int rule_path_beneath = 1;

/// File rights by ABI: 13 in the first, then REFER, TRUNCATE, (none), IOCTL_DEV.
std::uint64_t known_file_rights(long abi) {
    constexpr std::uint64_t first = (1U << 13U) - 1;
    auto rights = first;
    if (abi >= 2) rights |= 1U << 13U;
    if (abi >= 3) rights |= truncate;
    if (abi >= 5) rights |= 1U << 15U;
    return rights;
}

std::size_t attributes_size(long abi) {
    if (abi >= 6) return sizeof(RulesetAttributes);
    return abi >= 4 ? 2 * sizeof(std::uint64_t) : sizeof(std::uint64_t);
}

class Ruleset {
  public:
    Ruleset(UniqueFd fd, std::uint64_t handled) : fd_(std::move(fd)), handled_(handled) {}

    Result<> allow(int parent_fd, std::uint64_t access) const {
        PathBeneath rule{access & handled_, parent_fd};
        if (::syscall(SYS_landlock_add_rule, fd_.get(), rule_path_beneath, &rule, 0U) != 0) {
            return errno_error("add a Landlock rule", errno);
        }
        return {};
    }

    /// A path that is not there on this system needs no rule.
    Result<> allow_path(const char* path, std::uint64_t access) const {
        const UniqueFd fd(::open(path, O_PATH | O_CLOEXEC));
        if (!fd) return {};
        struct stat info {};
        if (::fstat(fd.get(), &info) != 0) return errno_error(std::string("stat ") + path, errno);
        return allow(fd.get(), S_ISDIR(info.st_mode) ? access : access & file_rights);
    }

    Result<> enforce() const {
        if (::syscall(SYS_landlock_restrict_self, fd_.get(), 0U) != 0) {
            return errno_error("enforce Landlock rules", errno);
        }
        return {};
    }

  private:
    UniqueFd fd_;
    std::uint64_t handled_;
};

constexpr std::array program_paths{"/usr",      "/lib", "/lib64", "/bin", "/etc/ld.so.cache",
                                   "/proc/self"};
constexpr std::array device_paths{"/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"};
constexpr std::array network_paths{"/etc/ssl",           "/etc/ca-certificates", "/etc/pki",
                                   "/etc/resolv.conf",   "/etc/hosts",           "/etc/host.conf",
                                   "/etc/nsswitch.conf", "/etc/gai.conf",        "/etc/services",
                                   "/etc/localtime",     "/run/systemd/resolve", "/run/resolvconf",
                                   "/run/NetworkManager"};

Result<> add_rules(const Ruleset& rules, const Confinement& confinement) {
    constexpr auto read = read_file | read_dir;
    const auto run = confinement.program.empty() ? std::uint64_t{0} : execute;
    for (const auto* path : program_paths) NOXSUP_TRY(rules.allow_path(path, read | run));
    for (const auto* path : device_paths)
        NOXSUP_TRY(rules.allow_path(path, read_file | write_file));
    if (!confinement.program.empty()) {
        NOXSUP_TRY(rules.allow_path(confinement.program.c_str(), read_file | execute));
    }
    if (confinement.network) {
        for (const auto* path : network_paths) NOXSUP_TRY(rules.allow_path(path, read));
    }
    for (const int fd : confinement.read_again) NOXSUP_TRY(rules.allow(fd, read_file));
    for (const int fd : confinement.write_again) {
        NOXSUP_TRY(rules.allow(fd, read_file | write_file | truncate));
    }
    return {};
}

}  // namespace

Result<> restrict_files(const Confinement& confinement) {
    constexpr unsigned ask_version = 1;
    const auto abi = ::syscall(SYS_landlock_create_ruleset, nullptr, std::size_t{0}, ask_version);
    // ENOSYS, EOPNOTSUPP: a kernel without it, or one that was told to do without.
    if (abi < 1) return {};
    RulesetAttributes attributes{};
    attributes.handled_access_fs = known_file_rights(abi);
    attributes.handled_access_net = confinement.network ? tcp_bind : tcp_bind | tcp_connect;
    attributes.scoped = scope_all;
    UniqueFd fd(static_cast<int>(
        ::syscall(SYS_landlock_create_ruleset, &attributes, attributes_size(abi), 0U)));
    if (!fd) return errno_error("make a Landlock ruleset", errno);
    const Ruleset rules(std::move(fd), attributes.handled_access_fs);
    NOXSUP_TRY(add_rules(rules, confinement));
    return rules.enforce();
}

}  // namespace noxsup::imaging::worker
