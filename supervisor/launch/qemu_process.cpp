#include "supervisor/launch/qemu_process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>

#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/base/unix_socket.hpp"
#include "supervisor/launch/cgroup.hpp"
#include "supervisor/launch/fence.hpp"
#include "supervisor/launch/life_lock.hpp"
#include "supervisor/launch/sealed_memory.hpp"

namespace noxsup::launch {
namespace {

constexpr std::size_t log_tail_bytes = 65536;
constexpr std::size_t log_tail_lines = 20;
constexpr mode_t socket_mode = 0600;
constexpr mode_t directory_mode = 0700;

/// Unlinks a socket unless QEMU took it over (its destructor runs on every error path of a start).
class BoundSocket {
  public:
    BoundSocket() = default;
    BoundSocket(UniqueFd fd, std::filesystem::path path)
        : fd_(std::move(fd)), path_(std::move(path)) {}
    BoundSocket(BoundSocket&& other) noexcept
        : fd_(std::move(other.fd_)), path_(std::exchange(other.path_, {})) {}
    BoundSocket& operator=(BoundSocket&& other) noexcept {
        std::swap(fd_, other.fd_);
        std::swap(path_, other.path_);
        return *this;
    }
    ~BoundSocket() {
        if (!path_.empty()) ::unlink(path_.c_str());
    }
    [[nodiscard]] int fd() const { return fd_.get(); }
    void keep() { path_.clear(); }

  private:
    UniqueFd fd_;
    std::filesystem::path path_;
};

/// Everything that QEMU inherits, owned until it runs.
struct Resources {
    UniqueFd lock;
    UniqueFd log;
    UniqueFd disk, base, seed, firmware_code, firmware_vars, kernel, initrd;
    BoundSocket qmp, console, agent, guest_port;
    std::uint64_t log_offset = 0;
};

/// A regular file of a VM. Never waits on a FIFO that was planted in its place.
Result<UniqueFd> open_regular(const std::filesystem::path& path, int flags) {
    if (path.empty()) return UniqueFd();
    NOXSUP_TRY_VALUE(auto fd, open_file(path, flags | O_NONBLOCK));
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return errno_error("stat " + path.string(), errno);
    if (!S_ISREG(info.st_mode)) {
        return Error{ErrorCode::unreadable_file, path.string() + " is not a regular file"};
    }
    return fd;
}

/// A copy in memory that nobody can change any more.
Result<UniqueFd> sealed_copy(int source, std::uint64_t size, const std::string& what) {
    NOXSUP_TRY_VALUE(auto copy, make_memory_file("noxsup-kernel"));
    off_t position = 0;
    while (static_cast<std::uint64_t>(position) < size) {
        const auto left = static_cast<std::size_t>(size - static_cast<std::uint64_t>(position));
        const auto sent = ::sendfile(copy.get(), source, &position, left);
        if (sent < 0) return errno_error("copy " + what, errno);
        if (sent == 0) break;
    }
    NOXSUP_TRY(seal_memory_file(copy.get()));
    return copy;
}

/// A kernel or initrd. QEMU opens it once more by its descriptor's name, which needs a right on the
/// file itself; where an own uid has none it gets a copy.
Result<UniqueFd> open_kernel(const std::filesystem::path& path, const Confinement& confinement) {
    NOXSUP_TRY_VALUE(auto fd, open_regular(path, O_RDONLY));
    struct stat info {};
    if (!fd || !confinement.uid) return fd;
    if (::fstat(fd.get(), &info) != 0) return errno_error("stat " + path.string(), errno);
    if ((info.st_mode & S_IROTH) != 0) return fd;
    return sealed_copy(fd.get(), static_cast<std::uint64_t>(info.st_size), path.string());
}

Result<> open_files(const VmFiles& files, const Confinement& confinement, Resources& resources) {
    // Ours are never links; the system's firmware and kernels may be.
    NOXSUP_TRY_VALUE(resources.disk, open_regular(files.disk, O_RDWR | O_NOFOLLOW));
    NOXSUP_TRY_VALUE(resources.base, open_regular(files.base, O_RDONLY | O_NOFOLLOW));
    NOXSUP_TRY_VALUE(resources.seed, open_regular(files.seed, O_RDONLY | O_NOFOLLOW));
    NOXSUP_TRY_VALUE(resources.firmware_code, open_regular(files.firmware_code, O_RDONLY));
    NOXSUP_TRY_VALUE(resources.firmware_vars,
                     open_regular(files.firmware_vars, O_RDWR | O_NOFOLLOW));
    NOXSUP_TRY_VALUE(resources.kernel, open_kernel(files.kernel, confinement));
    NOXSUP_TRY_VALUE(resources.initrd, open_kernel(files.initrd, confinement));
    return {};
}

Result<> open_log(const std::filesystem::path& path, Resources& resources) {
    NOXSUP_TRY_VALUE(resources.log,
                     open_file(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK));
    struct stat info {};
    if (::fstat(resources.log.get(), &info) != 0)
        return errno_error("stat " + path.string(), errno);
    if (!S_ISREG(info.st_mode))
        return Error{ErrorCode::io_error, path.string() + " is not a regular file"};
    resources.log_offset = static_cast<std::uint64_t>(info.st_size);
    return {};
}

Result<BoundSocket> bind_socket(const std::filesystem::path& path) {
    NOXSUP_TRY_VALUE(auto fd, listen_unix(path, socket_mode));
    return BoundSocket(std::move(fd), path);
}

/// Who could write there, or planted a link in its place, would get at the monitor.
Result<> check_ours(const std::filesystem::path& directory) {
    struct stat info {};
    if (::lstat(directory.c_str(), &info) != 0)
        return errno_error("stat " + directory.string(), errno);
    const bool closed = (info.st_mode & (S_IRWXG | S_IRWXO)) == 0;
    if (S_ISDIR(info.st_mode) && info.st_uid == ::geteuid() && closed) return {};
    return Error{ErrorCode::host_lacks_right,
                 directory.string() + " is no directory of this user's alone",
                 "look at who made it, then remove it"};
}

Result<> bind_sockets(const VmFiles& files, Resources& resources) {
    NOXSUP_TRY(make_directories(files.runtime_dir, directory_mode));
    NOXSUP_TRY(check_ours(files.runtime_dir));
    // Of a QEMU that was killed. We hold the life lock, so nobody serves them.
    remove_sockets(files);
    NOXSUP_TRY_VALUE(resources.qmp, bind_socket(files.qmp_socket()));
    NOXSUP_TRY_VALUE(resources.console, bind_socket(files.console_socket()));
    NOXSUP_TRY_VALUE(resources.agent, bind_socket(files.agent_socket()));
    if (files.has_guest_port) {
        NOXSUP_TRY_VALUE(resources.guest_port, bind_socket(files.guest_port_socket()));
    }
    return {};
}

LaunchFds numbers_of(const Resources& resources, const StartRequest& request) {
    LaunchFds fds;
    fds.disk = resources.disk.get();
    fds.base = resources.base.get();
    fds.seed = resources.seed.get();
    fds.firmware_code = resources.firmware_code.get();
    fds.firmware_vars = resources.firmware_vars.get();
    fds.kernel = resources.kernel.get();
    fds.initrd = resources.initrd.get();
    fds.qmp = resources.qmp.fd();
    fds.console = resources.console.fd();
    fds.agent = resources.agent.fd();
    fds.guest_port = resources.guest_port.fd();
    fds.nics = request.nics;
    fds.ram = request.ram_file.fd;
    fds.ram_shared = request.ram_file.shared;
    return fds;
}

SpawnSpec spawn_spec(const StartRequest& request, const Resources& resources) {
    const auto fds = numbers_of(resources, request);
    SpawnSpec spec;
    spec.argv = build_qemu_argv(request.spec, request.qemu, fds, request.ram);
    // QEMU reads few variables, all of them ways to change what it does.
    spec.environment = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8"};
    spec.stdout_fd = resources.log.get();
    spec.stderr_fd = resources.log.get();
    for (const int fd :
         {resources.lock.get(), fds.disk, fds.base, fds.seed, fds.firmware_code, fds.firmware_vars,
          fds.kernel, fds.initrd, fds.qmp, fds.console, fds.agent, fds.guest_port, fds.ram}) {
        if (fd >= 0) spec.inherit.push_back(fd);
    }
    for (const auto& nic : fds.nics) {
        spec.inherit.insert(spec.inherit.end(), nic.taps.begin(), nic.taps.end());
        spec.inherit.insert(spec.inherit.end(), nic.vhosts.begin(), nic.vhosts.end());
    }
    return spec;
}

/// Everything the child does to itself. @param fence holds what the last step puts on
Result<std::vector<ChildStep>> steps_of(const StartRequest& request, const Resources& resources,
                                        std::optional<LandlockRules>& fence) {
    auto steps = child_steps(request.confinement);
    if (request.cgroup_fd >= 0) steps.insert(steps.begin(), cgroup_step(request.cgroup_fd));
    if (request.confinement.landlock == 0) return steps;
    NOXSUP_TRY_VALUE(fence,
                     make_fence(fence_request(
                         request.spec, request.qemu.path,
                         {resources.kernel.get(), resources.initrd.get(), request.ram_file.fd})));
    steps.push_back(fence_step(*fence));
    return steps;
}

/// Ends a child of ours for certain: SIGKILL cannot be refused, so the wait is short.
void kill_and_reap(const Child& child) {
    (void)send_signal(child.pidfd.get(), SIGKILL);
    siginfo_t info{};
    while (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(child.pidfd.get()), &info,
                    WEXITED) != 0 &&
           errno == EINTR) {
    }
}

Result<> check_nics(const StartRequest& request) {
    const auto& networks = request.spec.networks;
    bool complete = true;
    for (std::size_t i = 0; i < networks.size(); ++i) {
        if (!spec::has_tap(networks[i])) continue;
        const auto queues = network_queues(request.spec, networks[i]);
        complete = complete && i < request.nics.size() && request.nics[i].taps.size() == queues;
    }
    if (complete) return {};
    return Error{ErrorCode::invalid_argument,
                 "each network card but those of user mode needs a TAP with a queue for each CPU"};
}

/// What a start needs that a spec alone cannot tell.
Result<> check_request(const StartRequest& request) {
    const auto& files = request.files;
    if (files.disk.empty() || files.lock.empty() || files.qemu_log.empty() ||
        files.runtime_dir.empty()) {
        return Error{ErrorCode::invalid_argument,
                     "a VM needs a disk, a lock, a log and a runtime directory"};
    }
    NOXSUP_TRY(check_nics(request));
    if (request.spec.boot.mode == spec::BootMode::firmware &&
        (files.firmware_code.empty() || files.firmware_vars.empty())) {
        return Error{ErrorCode::invalid_argument,
                     "a boot through firmware needs its code and variables"};
    }
    const bool boots = request.ram == Ram::fresh;
    if (boots && request.spec.boot.mode == spec::BootMode::kernel && files.kernel.empty()) {
        return Error{ErrorCode::invalid_argument, "a direct kernel boot needs a kernel"};
    }
    if (!request.qemu.supports(request.spec.machine)) {
        return Error{
            ErrorCode::host_lacks_qemu,
            "QEMU " + request.qemu.version + " has no machine type " + request.spec.machine,
            "sudo apt install " + qemu_package(request.spec.arch)};
    }
    return {};
}

/// QEMU's own exec failure in the words of what to install.
Error spawn_error(Error error, const StartRequest& request) {
    if (error.code == ErrorCode::host_lacks_tool) {
        error.code = ErrorCode::host_lacks_qemu;
        error.hint = "sudo apt install " + qemu_package(request.spec.arch);
    }
    return error;
}

}  // namespace

PendingQemu::PendingQemu(Child child, ProcessIdentity identity, VmFiles files, UniqueFd lock,
                         std::uint64_t log_offset)
    : child_(std::move(child)),
      identity_(std::move(identity)),
      files_(std::move(files)),
      lock_(std::move(lock)),
      log_offset_(log_offset) {}

PendingQemu::~PendingQemu() {
    if (!child_.pidfd) return;
    kill_and_reap(child_);
    remove_sockets(files_);
}

boost::asio::awaitable<Result<>> PendingQemu::died() const {
    co_await wait_for_exit(child_.pidfd.get());
    Error error(ErrorCode::qemu_failed, "QEMU ended before it was ready");
    error.evidence = last_words();
    if (!error.evidence.empty()) error.message += ": " + error.evidence.back();
    co_return error;
}

std::vector<std::string> PendingQemu::last_words() const {
    return qemu_last_words(files_.qemu_log, log_offset_);
}

Child PendingQemu::commit() {
    // QEMU alone holds it from here on.
    lock_.reset();
    return std::move(child_);
}

Result<PendingQemu> start_qemu(const boost::asio::any_io_executor& executor,
                               const StartRequest& request) {
    NOXSUP_TRY(check_request(request));
    const auto& files = request.files;
    Resources resources;
    NOXSUP_TRY_VALUE(resources.lock, take_life_lock(files.lock));
    NOXSUP_TRY(open_files(files, request.confinement, resources));
    NOXSUP_TRY(open_log(files.qemu_log, resources));
    NOXSUP_TRY(bind_sockets(files, resources));
    std::optional<LandlockRules> fence;
    NOXSUP_TRY_VALUE(const auto steps, steps_of(request, resources, fence));
    auto child = spawn(executor, spawn_spec(request, resources), steps);
    if (!child) return spawn_error(std::move(child).error(), request);
    // From here on the child holds the lock and the sockets are its own.
    auto identity = identify(child->pid);
    if (!identity) {
        kill_and_reap(*child);
        return std::move(identity).error();
    }
    resources.qmp.keep();
    resources.console.keep();
    resources.agent.keep();
    resources.guest_port.keep();
    return PendingQemu(std::move(*child), std::move(*identity), files, std::move(resources.lock),
                       resources.log_offset);
}

std::vector<std::string> qemu_last_words(const std::filesystem::path& log, std::uint64_t offset) {
    const auto fd = open_file(log, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!fd) return {};
    struct stat info {};
    if (::fstat(fd->get(), &info) != 0 || !S_ISREG(info.st_mode)) return {};
    const auto size = static_cast<std::uint64_t>(info.st_size);
    // A log that was cut in between has only what is new.
    auto start = offset <= size ? offset : 0;
    start = std::max(start, size > log_tail_bytes ? size - log_tail_bytes : 0);
    std::string text(size - start, '\0');
    const auto got = ::pread(fd->get(), text.data(), text.size(), static_cast<off_t>(start));
    text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    auto lines = last_lines(text, log_tail_lines);
    for (auto& line : lines) line = escape_for_terminal(line);
    return lines;
}

void remove_sockets(const VmFiles& files) {
    for (const auto& path : {files.qmp_socket(), files.console_socket(), files.agent_socket(),
                             files.guest_port_socket()}) {
        ::unlink(path.c_str());
    }
}

Result<Adoption> adopt_qemu(const ProcessIdentity& recorded, const VmFiles& files,
                            std::string_view uuid) {
    NOXSUP_TRY_VALUE(const bool alive, life_lock_held(files.lock));
    if (!alive) return Adoption(Dead{});
    NOXSUP_TRY_VALUE(auto pidfd, open_identified(recorded));
    if (pidfd && has_argument(recorded.pid, uuid))
        return Adoption(Alive{recorded, std::move(pidfd)});
    // The record was lost, or is older than this start. QEMU called listen(2) on the socket itself,
    // so the socket's credentials are its own.
    const auto unknown = [](const std::string& reason) { return Adoption(AliveUnknown{reason}); };
    const auto socket = connect_unix(files.qmp_socket());
    if (!socket) return unknown(socket.error().message);
    const auto peer = peer_credentials(socket->get());
    if (!peer) return unknown(peer.error().message);
    auto identity = identify(peer->pid);
    if (!identity) return unknown("the listener of " + files.qmp_socket().string() + " is gone");
    auto found = open_identified(*identity);
    if (!found) return unknown(found.error().message);
    if (!*found) return unknown("the listener of " + files.qmp_socket().string() + " is gone");
    return Adoption(Alive{std::move(*identity), std::move(*found)});
}

}  // namespace noxsup::launch
