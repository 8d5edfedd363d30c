// Carrying a plan out so that it is wholly done or wholly undone, and taking it back.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "netbridge/setup/host.hpp"
#include "netbridge/setup/journal.hpp"

namespace noxsup::netbridge::setup {

/// What a way back could not do; the files are as before all the same.
struct TakenBack {
    std::vector<std::string> problems;
};

/// Whether the managers run: at boot they take the files when they start.
enum class Commands { run, leave };

/// Puts every file back as it was, lets the manager take them and removes the journal. Goes on
/// where a command fails. @pre the store's lock is held. Errors: a file could not be put back; the
/// journal stays then, and it can be tried again.
Result<TakenBack> take_back(Host& host, const JournalStore& store, Journal journal,
                            Commands commands);

/// Writes the journal, arms the watcher, carries the plan out and waits for the bridge. The user
/// has `timeout` from then on to confirm. Where any step fails everything is taken back and the
/// error is that step's. @pre the store's lock is held.
Result<Journal> carry_out(Host& host, const JournalStore& store, const Plan& plan,
                          std::chrono::milliseconds timeout,
                          const std::function<Result<>()>& arm_watcher);

/// Makes the bridge's set-up last. Errors: wrong_state (nothing pending, or its time is over).
/// An empty bridge is the one that is pending.
Result<Journal> confirm(const JournalStore& store, const std::string& bridge);

/// Takes a set-up back, pending or confirmed, because the user wants it. Without `force` a file
/// that was changed since is an error. An empty bridge is the only one. Errors: wrong_state; as
/// take_back().
Result<std::pair<Journal, TakenBack>> undo(Host& host, const JournalStore& store,
                                           const std::string& bridge, bool force);

/// What was found and taken back.
struct Recovered {
    std::vector<std::string> bridges;
    std::vector<std::string> problems;
};

/// After a crash or at boot: takes back every set-up that nobody confirmed in time or can confirm
/// any more. At boot (`booting`) the managers do not run yet for those of another boot, and the
/// ones of this boot count as well.
Result<Recovered> recover(Host& host, const JournalStore& store, bool booting);

}  // namespace noxsup::netbridge::setup
