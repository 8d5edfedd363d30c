#include "supervisor/daemon/network_recovery.hpp"

#include <unistd.h>

#include "netbridge/setup/journal.hpp"
#include "supervisor/base/log.hpp"

namespace noxsup::daemon {

bool needs_network_recovery(const std::filesystem::path& journals,
                            const std::filesystem::path& systemd) {
    std::error_code failure;
    return ::geteuid() == 0 && netbridge::setup::JournalStore(journals).has_pending() &&
           !std::filesystem::exists(systemd, failure);
}

boost::asio::awaitable<void> recover_network(CommandRunner& runner) {
    Command command;
    command.argv = {"/proc/self/exe", "network", "rollback"};
    // The managers' commands have a minute and more each.
    command.deadline = std::chrono::minutes(10);
    std::error_code failure;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", failure);
    if (!failure) command.argv.front() = self.string();
    const auto outcome = co_await run_checked(runner, std::move(command));
    if (!outcome) log_error("network rollback: " + outcome.error().message);
}

}  // namespace noxsup::daemon
