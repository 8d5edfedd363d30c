// The watcher of a set-up: a process of its own that takes it back unless it is confirmed in time.
#pragma once

#include <string>

#include "netbridge/setup/host.hpp"
#include "netbridge/setup/journal.hpp"

namespace noxsup::netbridge::setup {

/// Starts `program network watch ...`, which calls watch(), in a session of its own, and returns
/// when it has said that it watches. It outlives this process, its terminal and the supervisor.
/// Errors: timeout; as spawn().
Result<> arm_watcher(const JournalStore& store, const std::string& program,
                     const std::string& bridge);

/// Moves this process to / and out of the cgroup of the login it was started in, for logind may end
/// all that is in there (KillUserProcesses=). Where that is not to be had it stays where it is.
void leave_session();

/// Returns when the set-up is confirmed or gone. Takes it back when its time is over, and at once
/// when the process behind `setup_pidfd` has ended in the middle of the change. What goes wrong is
/// logged and tried again for a while; then the next boot has to do it. Errors: protocol_error (the
/// journal is damaged), or the last try's.
/// @param ready_fd told with one byte, when it watches
Result<> watch(Host& host, const JournalStore& store, const std::string& bridge,
               UniqueFd setup_pidfd, UniqueFd ready_fd);

}  // namespace noxsup::netbridge::setup
