#include "supervisor/launch/fence.hpp"

#include <fcntl.h>

#include <array>
#include <cerrno>

namespace noxsup::launch {
namespace {

using landlock::execute;
using landlock::read_dir;
using landlock::read_file;
using landlock::write_file;

constexpr std::uint64_t read = read_file | read_dir;

/// Libraries, QEMU's modules and its data; what the loader and libnuma look at when QEMU starts.
constexpr std::array read_paths{"/usr",
                                "/lib",
                                "/lib64",
                                "/etc/ld.so.cache",
                                "/sys/devices/system",
                                "/sys/module/vhost/parameters",
                                "/sys/kernel/mm/transparent_hugepage"};
/// execve(2) opens a program's loader as well.
constexpr std::array loaders{"/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"};
constexpr std::array read_devices{"/dev/zero", "/dev/urandom", "/dev/random"};
/// libslirp reads /etc/resolv.conf by its name whenever it has changed, and it changes by being
/// replaced: a rule on that file would hold for the old one.
constexpr std::array name_server_directories{"/run/systemd/resolve", "/run/resolvconf",
                                             "/run/NetworkManager"};

Result<> allow_files(const LandlockRules& rules, const FenceRequest& request) {
    NOXSUP_TRY(rules.allow_path(request.program, read_file | execute));
    for (const auto* path : loaders) NOXSUP_TRY(rules.allow_path(path, read_file | execute));
    for (const auto* path : read_paths) NOXSUP_TRY(rules.allow_path(path, read));
    for (const auto* path : read_devices) NOXSUP_TRY(rules.allow_path(path, read_file));
    NOXSUP_TRY(rules.allow_path("/dev/null", read_file | write_file));
    if (request.kvm) {
        NOXSUP_TRY(rules.allow_path("/dev/kvm", read_file | write_file | landlock::ioctl_device));
    }
    if (request.user_network) {
        NOXSUP_TRY(rules.allow_path("/etc", read_file));
        for (const auto* path : name_server_directories)
            NOXSUP_TRY(rules.allow_path(path, read_file));
    }
    for (const int fd : request.reopened) NOXSUP_TRY(rules.allow(fd, read_file));
    return {};
}

}  // namespace

FenceRequest fence_request(const spec::VmSpec& spec, std::string program,
                           std::vector<int> reopened) {
    FenceRequest request;
    request.program = std::move(program);
    request.kvm = spec.accel == spec::Accel::kvm;
    request.user_network = spec::has_user_network(spec);
    std::erase(reopened, -1);
    request.reopened = std::move(reopened);
    return request;
}

Result<LandlockRules> make_fence(const FenceRequest& request) {
    const auto tcp =
        request.user_network ? std::uint64_t{0} : landlock::tcp_bind | landlock::tcp_connect;
    NOXSUP_TRY_VALUE(auto rules, LandlockRules::make(tcp));
    auto allowed = allow_files(rules, request);
    if (!allowed) return std::move(allowed).error();
    return rules;
}

ChildStep fence_step(const LandlockRules& fence) {
    const auto act = [&fence] {
        // The child's own /proc, which is there only now.
        const int proc = ::open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (proc >= 0) {
            const int failure = fence.add(proc, read);
            ::close(proc);
            if (failure != 0) return failure;
        }
        return fence.enforce();
    };
    return {"enforce Landlock rules", act};
}

}  // namespace noxsup::launch
