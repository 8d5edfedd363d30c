#include "netbridge/setup/watcher.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio.hpp>
#include <cerrno>
#include <thread>

#include "netbridge/setup/transaction.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/pidfd.hpp"
#include "supervisor/base/pipe.hpp"
#include "supervisor/base/process.hpp"

namespace noxsup::netbridge::setup {
namespace {

constexpr std::chrono::milliseconds look_interval{500};
constexpr std::chrono::seconds lock_limit{10};

/// Waits until the descriptor is readable, or the time has passed.
bool wait_readable(int fd, std::chrono::milliseconds limit) {
    pollfd entry{fd, POLLIN, 0};
    return ::poll(&entry, 1, static_cast<int>(limit.count())) > 0;
}

/// The journal when there is something to watch or to take back.
Result<std::optional<Journal>> load_pending(const JournalStore& store, const std::string& bridge) {
    NOXSUP_TRY_VALUE(auto journal, store.load(bridge));
    if (journal && journal->confirmed) journal.reset();
    return journal;
}

/// Whether it is to be taken back now.
bool is_due(const Journal& journal, bool setup_lives) {
    if (journal.phase == Phase::undoing) return true;
    if (journal.phase == Phase::applying && !setup_lives) return true;
    return boot_time_now() > journal.deadline;
}

/// Under the lock, for the user may have confirmed it in the meantime.
Result<> take_back_if_due(Host& host, const JournalStore& store, const std::string& bridge,
                          int setup_pidfd) {
    NOXSUP_TRY_VALUE(const auto lock, store.lock(lock_limit));
    NOXSUP_TRY_VALUE(auto journal, load_pending(store, bridge));
    if (!journal || !is_due(*journal, !process_ended(setup_pidfd))) return {};
    log_warning("the set-up of " + bridge + " was not confirmed in time; taking it back");
    NOXSUP_TRY_VALUE(const auto back, take_back(host, store, std::move(*journal), Commands::run));
    for (const auto& problem : back.problems) log_warning(problem);
    log_warning(bridge + " is gone, and the network is as it was before");
    return {};
}

}  // namespace

Result<> arm_watcher(const JournalStore& store, const std::string& program,
                     const std::string& bridge) {
    NOXSUP_TRY_VALUE(const auto self, open_pidfd(::getpid()));
    NOXSUP_TRY_VALUE(auto pipe, make_pipe());
    const auto ready = std::move(pipe.read_end);
    auto told = std::move(pipe.write_end);
    NOXSUP_TRY_VALUE(const auto log,
                     open_file(store.log(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW));
    SpawnSpec spec;
    spec.argv = {program,
                 "network",
                 "watch",
                 "--bridge",
                 bridge,
                 "--setup-fd",
                 std::to_string(self.get()),
                 "--ready-fd",
                 std::to_string(told.get())};
    spec.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"};
    spec.stdout_fd = log.get();
    spec.stderr_fd = log.get();
    spec.inherit = {self.get(), told.get()};
    boost::asio::io_context context(1);
    NOXSUP_TRY(spawn(context.get_executor(), spec));
    told.reset();
    constexpr std::chrono::seconds limit{20};
    char byte = 0;
    if (!wait_readable(ready.get(), limit) || ::read(ready.get(), &byte, 1) != 1) {
        return Error{ErrorCode::failed, "the process that would take the set-up back did not start",
                     "what it said: " + store.log().string()};
    }
    return {};
}

void leave_session() {
    // Nor does it keep a file system from being unmounted.
    if (::chdir("/") != 0) log_warning("cannot change to /");
    if (const auto fd = open_file("/sys/fs/cgroup/cgroup.procs", O_WRONLY)) {
        (void)write_all(fd->get(), "0", "cgroup.procs");
    }
}

Result<> watch(Host& host, const JournalStore& store, const std::string& bridge,
               UniqueFd setup_pidfd, UniqueFd ready_fd) {
    if (ready_fd) {
        NOXSUP_TRY(write_all(ready_fd.get(), "1", "ready"));
        ready_fd.reset();
    }
    constexpr int max_failures = 12;
    constexpr std::chrono::seconds between_failures{5};
    for (int failures = 0;;) {
        NOXSUP_TRY_VALUE(const auto journal, load_pending(store, bridge));
        if (!journal) return {};
        const bool lives = !process_ended(setup_pidfd.get());
        if (!is_due(*journal, lives)) {
            // The end of the set-up's process matters before it is through, and wakes us then.
            if (lives && journal->phase == Phase::applying) {
                wait_readable(setup_pidfd.get(), look_interval);
            } else {
                std::this_thread::sleep_for(look_interval);
            }
            continue;
        }
        // One that hangs, or was stopped, holds the lock.
        if (lives && journal->phase == Phase::applying) {
            log_warning("the set-up of " + bridge + " hangs; ending it");
            NOXSUP_TRY(send_signal(setup_pidfd.get(), SIGKILL));
        }
        const auto outcome = take_back_if_due(host, store, bridge, setup_pidfd.get());
        if (outcome) continue;
        log_error(outcome.error().message);
        if (++failures == max_failures) return outcome.error();
        std::this_thread::sleep_for(between_failures);
    }
}

}  // namespace noxsup::netbridge::setup
