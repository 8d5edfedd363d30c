#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <vector>

#include "imaging/worker/confine.hpp"

namespace noxsup::imaging::worker {
namespace {

#if defined(__x86_64__)
constexpr std::uint32_t native_arch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t native_arch = AUDIT_ARCH_AARCH64;
#else
#error "noxsup knows arm64 and amd64"
#endif

/// Ways out of the process that reading and rewriting an image never needs. io_uring is among them
/// because it opens sockets without a system call that a filter sees.
constexpr std::array<std::uint32_t, 13> refused{SYS_socket,
                                                SYS_socketpair,
                                                SYS_connect,
                                                SYS_ptrace,
                                                SYS_process_vm_readv,
                                                SYS_process_vm_writev,
                                                SYS_io_uring_setup,
                                                SYS_mount,
                                                SYS_unshare,
                                                SYS_setns,
                                                SYS_bpf,
                                                SYS_keyctl,
                                                SYS_perf_event_open};

}  // namespace

Result<> forbid_sockets() {
    std::vector<sock_filter> program{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, native_arch, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
    };
#if defined(__x86_64__)
    // The x32 numbering would go past the list below.
    constexpr std::uint32_t x32_bit = 0x40000000;
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, x32_bit, 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
#endif
    for (const auto number : refused) {
        program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
        program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0) {
        // EINVAL: a kernel built without seccomp filters.
        if (errno == EINVAL) return {};
        return errno_error("install the seccomp filter", errno);
    }
    return {};
}

}  // namespace noxsup::imaging::worker
