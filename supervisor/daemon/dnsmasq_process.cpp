#include "supervisor/daemon/dnsmasq_process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "netbridge/nat/dnsmasq.hpp"
#include "supervisor/base/async.hpp"
#include "supervisor/base/child_steps.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::daemon {
namespace {

namespace asio = boost::asio;

constexpr std::chrono::seconds ready_limit{10};
constexpr std::chrono::milliseconds look_interval{10};
constexpr std::chrono::seconds terminate_limit{3};
constexpr std::size_t max_log_bytes = std::size_t{16} << 20;

/// What the log holds from an offset on.
std::string words_since(const std::filesystem::path& log, std::uint64_t offset) {
    const auto text = read_file(log, max_log_bytes);
    if (!text || text->size() <= offset) return {};
    return text->substr(offset);
}

Error start_error(const std::string& words) {
    auto lines = last_lines(words, 5);
    Error error(ErrorCode::command_failed, "dnsmasq did not start");
    if (!lines.empty()) error.message += ": " + lines.back();
    if (words.find("Address already in use") != std::string::npos) {
        error.code = ErrorCode::port_taken;
        error.hint =
            "another DNS or DHCP server of this host listens on every address; let it "
            "leave noxbr0 out (sudo ss -lntup 'sport = :53 or sport = :67' tells which)";
    }
    error.evidence = std::move(lines);
    return error;
}

bool is_dnsmasq(pid_t pid) {
    std::error_code failure;
    const auto program =
        std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe", failure);
    // "dnsmasq (deleted)" after an upgrade
    return !failure && program.filename().string().starts_with("dnsmasq");
}

/// @pre a pidfd holds on to the process
bool is_ours(pid_t pid, const std::string& mark) {
    return is_dnsmasq(pid) && launch::has_argument(pid, mark);
}

std::optional<DnsmasqProcess> look_at(pid_t pid, const std::string& mark) {
    auto pidfd = open_pidfd(pid);
    if (!pidfd || !is_ours(pid, mark)) return std::nullopt;
    auto identity = launch::identify(pid);
    if (!identity || process_ended(pidfd->get())) return std::nullopt;
    return DnsmasqProcess{std::move(*identity), std::move(*pidfd), {}};
}

std::optional<DnsmasqProcess> search(const std::string& mark) {
    std::error_code failure;
    std::filesystem::directory_iterator entry("/proc", failure);
    for (; !failure && entry != std::filesystem::directory_iterator(); entry.increment(failure)) {
        const auto name = entry->path().filename().string();
        if (name.find_first_not_of("0123456789") != std::string::npos || name.size() > 9) continue;
        const auto pid = static_cast<pid_t>(std::stol(name));
        if (!is_ours(pid, mark)) continue;
        if (auto found = look_at(pid, mark)) return found;
    }
    return std::nullopt;
}

asio::awaitable<bool> gone_within(int pidfd, std::chrono::milliseconds limit) {
    const auto until = std::chrono::steady_clock::now() + limit;
    while (!process_ended(pidfd) && std::chrono::steady_clock::now() < until) {
        const bool slept = co_await sleep_for(look_interval);
        if (!slept) break;
    }
    co_return process_ended(pidfd);
}

}  // namespace

asio::awaitable<Result<DnsmasqProcess>> start_dnsmasq(asio::any_io_executor executor,
                                                      std::vector<std::string> argv,
                                                      std::filesystem::path log) {
    NOXSUP_CO_TRY_VALUE(const auto output,
                        open_file(log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
    struct stat info {};
    if (::fstat(output.get(), &info) != 0) co_return errno_error(log.string(), errno);
    const auto offset = static_cast<std::uint64_t>(info.st_size);
    SpawnSpec spec;
    spec.argv = std::move(argv);
    spec.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"};
    spec.stdout_fd = output.get();
    spec.stderr_fd = output.get();
    const std::vector<ChildStep> steps{
        {"no_new_privs", [] { return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : errno; }}};
    NOXSUP_CO_TRY_VALUE(auto child, spawn(executor, spec, steps));
    DnsmasqProcess process;
    process.pidfd = std::move(child.pidfd);
    process.arguments = spec.argv;
    auto identity = launch::identify(child.pid);
    const auto until = std::chrono::steady_clock::now() + ready_limit;
    bool ready = false;
    while (identity && !ready && !process_ended(process.pidfd.get()) &&
           std::chrono::steady_clock::now() < until) {
        ready = words_since(log, offset).find(netbridge::dnsmasq_ready) != std::string::npos;
        if (ready) break;
        const bool slept = co_await sleep_for(look_interval);
        if (!slept) break;
    }
    if (!ready || process_ended(process.pidfd.get())) {
        auto stopping = stop_dnsmasq(std::move(process));
        co_await uncancellable(std::move(stopping));
        co_return start_error(words_since(log, offset));
    }
    process.identity = std::move(*identity);
    co_return process;
}

std::optional<DnsmasqProcess> find_dnsmasq(const std::optional<launch::ProcessIdentity>& recorded,
                                           const std::string& mark) {
    std::optional<DnsmasqProcess> found;
    if (recorded) {
        auto pidfd = launch::open_identified(*recorded);
        if (pidfd && *pidfd && is_ours(recorded->pid, mark))
            found = DnsmasqProcess{*recorded, std::move(*pidfd), {}};
    }
    if (!found) found = search(mark);
    if (found) found->arguments = launch::arguments_of(found->identity.pid);
    return found;
}

asio::awaitable<void> stop_dnsmasq(DnsmasqProcess process) {
    const int pidfd = process.pidfd.get();
    if (pidfd < 0) co_return;
    if (const auto sent = send_signal(pidfd, SIGTERM); !sent) log_warning(sent.error().message);
    const bool gone = co_await gone_within(pidfd, terminate_limit);
    if (!gone) {
        (void)send_signal(pidfd, SIGKILL);
        (void)co_await gone_within(pidfd, terminate_limit);
    }
    // It may be a child of a supervisor before.
    (void)reap(pidfd);
}

}  // namespace noxsup::daemon
