// Stands in for a QEMU that a hostile guest has taken over: tries what its launcher must have made
// impossible, and says of each act on stdout whether it was denied.
//
// It is started with QEMU's arguments. The text behind -append names its targets: "wait" (it then
// only lives), or KEY=VALUE words: other_disk, own_disk, home, public_file, control,
// sibling_socket, abstract, sibling, daemon, temporary, port.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <sstream>
#include <string>

namespace {

std::map<std::string, std::string> targets;
std::map<int, int> fd_sets;  ///< number of the set to descriptor; 1 is the disk, 3 the seed

int number_of(const std::string& key) {
    return std::atoi(targets[key].c_str());
}

/// True when it opens; it is closed again.
bool opens(const std::string& path, int flags) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0) return false;
    ::close(fd);
    return true;
}

bool makes_socket(int family, int type, int protocol) {
    const int fd = ::socket(family, type | SOCK_CLOEXEC, protocol);
    if (fd < 0) return false;
    ::close(fd);
    return true;
}

/// A path, or an abstract name when it begins with '@'.
bool connects(const std::string& name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    if (name[0] == '@') address.sun_path[0] = '\0';
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool done = ::connect(fd, reinterpret_cast<sockaddr*>(&address), length) == 0;
    ::close(fd);
    return done;
}

bool uses_tcp(int (*act)(int, const sockaddr*, socklen_t), int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool done = act(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    ::close(fd);
    return done;
}

bool reads_memory_of(pid_t pid) {
    char ours = 0;
    iovec here{&ours, 1};
    iovec there{reinterpret_cast<void*>(0x400000), 1};
    return ::process_vm_readv(pid, &here, 1, &there, 1, 0) >= 0 || errno == EFAULT;
}

bool runs_a_shell() {
    const pid_t child = ::fork();
    if (child == 0) {
        ::execl("/bin/sh", "sh", "-c", "exit 0", nullptr);
        ::_exit(99);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool grows_a_file_without_end() {
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    if (limit.rlim_cur == RLIM_INFINITY) return true;
    return ::pwrite(fd_sets[1], "x", 1, static_cast<off_t>(limit.rlim_cur)) == 1;
}

bool raises_a_limit() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_max = limit.rlim_cur = limit.rlim_max + 1;
    return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

bool has_real_time() {
    sched_param parameters{};
    parameters.sched_priority = 1;
    return ::sched_setscheduler(0, SCHED_FIFO, &parameters) == 0;
}

bool is_spared_by_oom() {
    const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const bool done = ::write(fd, "-1000", 5) == 5;
    ::close(fd);
    return done;
}

struct Act {
    const char* name;
    std::function<bool()> succeeds;
};

/// Harmless where it succeeds: nothing is written over, nobody is signalled.
const Act acts[] = {
    {"read-other-disk", [] { return opens(targets["other_disk"], O_RDONLY); }},
    {"write-other-disk", [] { return opens(targets["other_disk"], O_RDWR); }},
    {"open-own-disk-by-name", [] { return opens(targets["own_disk"], O_RDWR); }},
    {"reopen-seed-for-writing",
     [] { return opens("/proc/self/fd/" + std::to_string(fd_sets[3]), O_RDWR); }},
    {"take-own-disk-over", [] { return ::fchmod(fd_sets[1], 0666) == 0; }},
    {"read-etc-shadow", [] { return opens("/etc/shadow", O_RDONLY); }},
    {"list-the-home", [] { return opens(targets["home"], O_RDONLY | O_DIRECTORY); }},
    {"read-a-public-file", [] { return opens(targets["public_file"], O_RDONLY); }},
    {"make-a-temporary-file",
     [] { return opens(targets["temporary"], O_RDWR | O_CREAT | O_EXCL); }},
    {"open-a-tun-device", [] { return opens("/dev/net/tun", O_RDWR); }},
    {"connect-to-the-control-socket", [] { return connects(targets["control"]); }},
    {"connect-to-a-siblings-qmp", [] { return connects(targets["sibling_socket"]); }},
    {"connect-to-an-abstract-socket", [] { return connects(targets["abstract"]); }},
    {"trace-a-sibling",
     [] { return ::ptrace(PTRACE_SEIZE, number_of("sibling"), nullptr, nullptr) == 0; }},
    {"read-a-siblings-memory", [] { return reads_memory_of(number_of("sibling")); }},
    {"signal-a-sibling", [] { return ::kill(number_of("sibling"), 0) == 0; }},
    {"signal-the-supervisor", [] { return ::kill(number_of("daemon"), 0) == 0; }},
    {"packet-socket", [] { return makes_socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)); }},
    {"raw-socket", [] { return makes_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP); }},
    {"bind-a-tcp-port", [] { return uses_tcp(::bind, 0); }},
    {"connect-to-a-tcp-port", [] { return uses_tcp(::connect, number_of("port")); }},
    {"become-root", [] { return ::setresuid(0, 0, 0) == 0; }},
    {"mount-namespace", [] { return ::unshare(CLONE_NEWNS) == 0; }},
    {"make-a-device",
     [] {
         const auto path = targets["temporary"] + "-device";
         return ::mknod(path.c_str(), S_IFBLK | 0600, makedev(7, 0)) == 0;
     }},
    {"run-a-shell", runs_a_shell},
    {"grow-a-file-without-end", grows_a_file_without_end},
    {"raise-a-limit", raises_a_limit},
    {"real-time-priority", has_real_time},
    {"be-spared-by-the-oom-killer", is_spared_by_oom},
};

}  // namespace

int main(int argc, char** argv) {
    for (int i = 1; i + 1 < argc; ++i) {
        const std::string option = argv[i];
        int fd = -1;
        int set = -1;
        if (option == "-add-fd" && std::sscanf(argv[i + 1], "fd=%d,set=%d", &fd, &set) == 2)
            fd_sets[set] = fd;
        if (option != "-append") continue;
        std::istringstream words(argv[i + 1]);
        for (std::string word; words >> word;) {
            const auto equals = word.find('=');
            if (equals == std::string::npos && word == "wait") return ::pause();
            targets[word.substr(0, equals)] = word.substr(equals + 1);
        }
    }
    for (const auto& act : acts) {
        errno = 0;
        const bool done = act.succeeds();
        const int failure = errno;
        std::printf("%s %s (%s)\n", done ? "ALLOWED" : "denied", act.name,
                    done ? "no error" : std::strerror(failure));
        std::fflush(stdout);
    }
    std::puts("end");
    return 0;
}
