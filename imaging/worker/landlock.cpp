#include "supervisor/base/landlock.hpp"

#include <array>

#include "imaging/worker/confine.hpp"

namespace noxsup::imaging::worker {
namespace {

constexpr std::array program_paths{"/usr",      "/lib", "/lib64", "/bin", "/etc/ld.so.cache",
                                   "/proc/self"};
constexpr std::array device_paths{"/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"};
constexpr std::array network_paths{"/etc/ssl",           "/etc/ca-certificates", "/etc/pki",
                                   "/etc/resolv.conf",   "/etc/hosts",           "/etc/host.conf",
                                   "/etc/nsswitch.conf", "/etc/gai.conf",        "/etc/services",
                                   "/etc/localtime",     "/run/systemd/resolve", "/run/resolvconf",
                                   "/run/NetworkManager"};

Result<> add_rules(const LandlockRules& rules, const Confinement& confinement) {
    using landlock::execute;
    using landlock::read_file;
    using landlock::write_file;
    constexpr auto read = read_file | landlock::read_dir;
    const auto run = confinement.program.empty() ? std::uint64_t{0} : execute;
    for (const auto* path : program_paths) NOXSUP_TRY(rules.allow_path(path, read | run));
    for (const auto* path : device_paths)
        NOXSUP_TRY(rules.allow_path(path, read_file | write_file));
    if (!confinement.program.empty()) {
        NOXSUP_TRY(rules.allow_path(confinement.program.string(), read_file | execute));
    }
    if (confinement.network) {
        for (const auto* path : network_paths) NOXSUP_TRY(rules.allow_path(path, read));
    }
    for (const int fd : confinement.read_again) NOXSUP_TRY(rules.allow(fd, read_file));
    for (const int fd : confinement.write_again) {
        NOXSUP_TRY(rules.allow(fd, read_file | write_file | landlock::truncate));
    }
    return {};
}

}  // namespace

Result<> restrict_files(const Confinement& confinement) {
    if (landlock_abi() == 0) return {};
    const auto tcp =
        confinement.network ? landlock::tcp_bind : landlock::tcp_bind | landlock::tcp_connect;
    NOXSUP_TRY_VALUE(const auto rules, LandlockRules::make(tcp));
    NOXSUP_TRY(add_rules(rules, confinement));
    if (const int failure = rules.enforce(); failure != 0) {
        return errno_error("enforce Landlock rules", failure);
    }
    return {};
}

}  // namespace noxsup::imaging::worker
