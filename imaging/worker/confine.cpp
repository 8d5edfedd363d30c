#include "imaging/worker/confine.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

namespace noxsup::imaging::worker {
namespace {

/// "nobody": owns nothing, and nothing of value runs as it.
constexpr uid_t unprivileged_uid = 65534;

Result<> set_limit(int resource, std::uint64_t value) {
    rlimit current{};
    ::getrlimit(static_cast<__rlimit_resource_t>(resource), &current);
    // A limit that is lower already stays.
    const auto wanted = std::min<rlim_t>(value, current.rlim_max);
    const rlimit limit{wanted, wanted};
    if (::setrlimit(static_cast<__rlimit_resource_t>(resource), &limit) != 0) {
        return errno_error("set resource limit " + std::to_string(resource), errno);
    }
    return {};
}

Result<> set_limits(const Confinement& confinement) {
    NOXSUP_TRY(set_limit(RLIMIT_CORE, 0));
    NOXSUP_TRY(set_limit(RLIMIT_NOFILE, 128));
    NOXSUP_TRY(set_limit(RLIMIT_FSIZE, confinement.max_file_bytes));
    NOXSUP_TRY(set_limit(RLIMIT_CPU, confinement.max_cpu_seconds));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    // The sanitizers reserve terabytes of addresses.
    NOXSUP_TRY(set_limit(RLIMIT_AS, confinement.max_memory_bytes));
#endif
    // A file that reaches its limit is an error of write(2), not a signal.
    ::signal(SIGXFSZ, SIG_IGN);
    return {};
}

void clean_environment() {
    struct Kept {
        const char* name;
        std::string value;
    };
    std::vector<Kept> kept;
    for (const auto* name : {"https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY",
                             "no_proxy", "NO_PROXY"}) {
        if (const char* value = ::getenv(name)) kept.push_back({name, value});
    }
    ::clearenv();
    ::setenv("PATH", "/usr/bin:/bin", 1);
    ::setenv("LANG", "C.UTF-8", 1);
    for (const auto& entry : kept) ::setenv(entry.name, entry.value.c_str(), 1);
}

/// Root's descriptors are open already; the program that opens them again by /proc/self/fd needs
/// their owner's right. They are files made for this worker alone.
Result<> hand_over_files(const Confinement& confinement) {
    for (const auto& list : {confinement.read_again, confinement.write_again}) {
        for (const int fd : list) {
            if (::fchown(fd, unprivileged_uid, unprivileged_uid) != 0) {
                return errno_error("give the working file to the worker's user", errno);
            }
        }
    }
    return {};
}

/// Where the user namespace has no such user only the capabilities go.
Result<> drop_user(const Confinement& confinement) {
    if (::geteuid() == 0) {
        if (auto handed = hand_over_files(confinement); handed) {
            if (::setgroups(0, nullptr) == 0 &&
                ::setresgid(unprivileged_uid, unprivileged_uid, unprivileged_uid) == 0 &&
                ::setresuid(unprivileged_uid, unprivileged_uid, unprivileged_uid) != 0) {
                return errno_error("change to an unprivileged user", errno);
            }
        }
    }
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> none{};
    if (::syscall(SYS_capset, &header, none.data()) != 0)
        return errno_error("drop capabilities", errno);
    return {};
}

Result<> end_with_parent(pid_t parent) {
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return errno_error("set the death signal", errno);
    if (::getppid() != parent) return Error{ErrorCode::interrupted, "the supervisor is gone"};
    return {};
}

}  // namespace

Result<> confine(const Confinement& confinement) {
    const auto parent = ::getppid();
    clean_environment();
    ::umask(077);
    if (::chdir("/") != 0) return errno_error("change to /", errno);
    NOXSUP_TRY(set_limits(confinement));
    NOXSUP_TRY(drop_user(confinement));
    // After the change of user, which clears it.
    NOXSUP_TRY(end_with_parent(parent));
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return errno_error("set no_new_privs", errno);
    NOXSUP_TRY(restrict_files(confinement));
    if (!confinement.network) NOXSUP_TRY(forbid_sockets());
    return {};
}

void limit_child_memory(std::uint64_t bytes) {
    // qemu-img starts up to 64 threads where the disk is slow, each with 8 MiB of stack and 64 MiB
    // of malloc's arena in its address space; one that cannot be started aborts it.
    constexpr rlim_t stack_bytes = rlim_t{2} << 20;
    const rlimit stack{stack_bytes, stack_bytes};
    ::setrlimit(RLIMIT_STACK, &stack);
    ::setenv("MALLOC_ARENA_MAX", "1", 1);
    const rlimit limit{bytes, bytes};
    ::setrlimit(RLIMIT_AS, &limit);
}

}  // namespace noxsup::imaging::worker
