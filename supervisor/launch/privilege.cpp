#include "supervisor/launch/privilege.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace noxsup::launch {
namespace {

constexpr mode_t group_may = S_IRGRP | S_IWGRP;
constexpr mode_t others_may = S_IROTH | S_IWOTH;
/// Behind user-mode networking each of the guest's connections is a descriptor of QEMU's.
constexpr std::uint64_t open_files_user_network = 4096;
constexpr std::uint64_t open_files_bridge = 1024;
/// QEMU's pools of workers hold up to 64 threads each; it aborts when one cannot be started.
constexpr std::uint64_t tasks_beside_cpus = 320;
/// The tables of a full qcow2 disk are 1/5,800 of it (clusters of 64 KiB).
constexpr std::uint64_t table_share = 256;
/// The firmware's variables, the log, and the device state beside saved RAM.
constexpr std::uint64_t file_bytes_beside = 256 * spec::mebibyte;

int result_of(long outcome) {
    return outcome == 0 ? 0 : errno;
}

/// A limit that is lower already stays.
int set_limit(int resource, std::uint64_t value) {
    const auto which = static_cast<__rlimit_resource_t>(resource);
    rlimit current{};
    if (::getrlimit(which, &current) != 0) return errno;
    const auto most = std::min<rlim_t>(value, current.rlim_max);
    const rlimit limit{most, most};
    return result_of(::setrlimit(which, &limit));
}

/// A supervisor that the OOM killer is to spare must not hand that down.
int reset_oom_score() {
    const int fd = ::open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd < 0) return 0;
    char sign = 0;
    // Raising one's own score needs no right; where it fails QEMU is spared too, which harms no
    // start.
    if (::read(fd, &sign, 1) == 1 && sign == '-' && ::pwrite(fd, "0", 1, 0) < 0) errno = 0;
    ::close(fd);
    return 0;
}

/// What a program could get back by a file's capabilities or a setuid bit.
int empty_bounding_set() {
    for (int capability = 0;; ++capability) {
        if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0) continue;
        // The kernel knows no capability of this number: it was the last one before.
        return errno == EINVAL && capability > 0 ? 0 : errno;
    }
}

int drop_capabilities() {
    // EINVAL: a kernel without ambient capabilities.
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL)
        return errno;
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[2]{};
    return result_of(::syscall(SYS_capset, &header, none));
}

/// A write beyond a limit is an error of write(2), which pauses the VM, not a signal, which ends
/// it.
int ignore_file_size_signal() {
    ::signal(SIGXFSZ, SIG_IGN);
    return 0;
}

void add_limit(std::vector<ChildStep>& steps, const char* name, int resource,
               const std::optional<std::uint64_t>& value) {
    if (!value) return;
    steps.push_back({name, [resource, most = *value] { return set_limit(resource, most); }});
}

/// The system calls themselves: the library's functions would look for other threads first.
void add_user(std::vector<ChildStep>& steps, uid_t uid, const std::vector<gid_t>& groups) {
    steps.push_back({"set the groups", [groups] {
                         return result_of(::syscall(SYS_setgroups, groups.size(), groups.data()));
                     }});
    steps.push_back(
        {"change the gid", [uid] { return result_of(::syscall(SYS_setresgid, uid, uid, uid)); }});
    steps.push_back(
        {"change the uid", [uid] { return result_of(::syscall(SYS_setresuid, uid, uid, uid)); }});
}

}  // namespace

std::optional<DeviceRights> kvm_device_rights() {
    struct stat info {};
    if (::stat("/dev/kvm", &info) != 0) return std::nullopt;
    return DeviceRights{info.st_gid, info.st_mode & 0777U};
}

std::uint64_t max_tasks(const spec::VmSpec& spec) {
    return spec.cpus + tasks_beside_cpus;
}

Result<Confinement> plan_confinement(const spec::VmSpec& spec, std::optional<uid_t> uid,
                                     const std::optional<DeviceRights>& kvm) {
    Confinement plan;
    plan.uid = uid;
    plan.max_open_files =
        spec::has_user_network(spec) ? open_files_user_network : open_files_bridge;
    const auto disk = spec.disk.virtual_bytes;
    plan.max_file_bytes = disk + disk / table_share + spec.memory_bytes + file_bytes_beside;
    if (!uid) return plan;
    plan.max_tasks = max_tasks(spec);
    if (spec.accel != spec::Accel::kvm || !kvm) return plan;
    if (kvm->group != 0 && (kvm->mode & group_may) == group_may) {
        plan.groups = {kvm->group};
    } else if ((kvm->mode & others_may) != others_may) {
        return Error{ErrorCode::host_lacks_right,
                     "/dev/kvm lets in root alone, and a VM's QEMU does not run as root",
                     "give it to a group: chgrp kvm /dev/kvm && chmod 660 /dev/kvm"};
    }
    return plan;
}

std::vector<ChildStep> child_steps(const Confinement& confinement) {
    std::vector<ChildStep> steps;
    steps.push_back({"change to /", [] { return result_of(::chdir("/")); }});
    steps.push_back({"reset the OOM score", reset_oom_score});
    steps.push_back({"ignore SIGXFSZ", ignore_file_size_signal});
    add_limit(steps, "forbid core dumps", RLIMIT_CORE, 0);
    add_limit(steps, "limit open files", RLIMIT_NOFILE, confinement.max_open_files);
    add_limit(steps, "limit the size of files", RLIMIT_FSIZE, confinement.max_file_bytes);
    add_limit(steps, "limit tasks", RLIMIT_NPROC, confinement.max_tasks);
    if (::geteuid() == 0) steps.push_back({"empty the bounding set", empty_bounding_set});
    if (confinement.uid) add_user(steps, *confinement.uid, confinement.groups);
    steps.push_back({"drop capabilities", drop_capabilities});
    steps.push_back(
        {"set no_new_privs", [] { return result_of(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }});
    return steps;
}

Json to_json(const Confinement& confinement) {
    return {{"uid", confinement.uid ? Json(*confinement.uid) : Json()},
            {"landlock", confinement.landlock > 0 ? Json(confinement.landlock) : Json()},
            {"cgroup", confinement.cgroup.empty() ? Json() : Json(confinement.cgroup)}};
}

}  // namespace noxsup::launch
