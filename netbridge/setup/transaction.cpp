#include "netbridge/setup/transaction.hpp"

#include <algorithm>

#include "supervisor/base/text.hpp"
#include "supervisor/base/time.hpp"

namespace noxsup::netbridge::setup {
namespace {

/// Longer than the commands of any plan take; after it the watcher ends a set-up that hangs.
constexpr std::chrono::minutes apply_limit{6};
/// For what somebody else does under the lock.
constexpr std::chrono::seconds lock_limit{10};

Result<> run_steps(Host& host, const std::vector<Step>& steps) {
    for (const auto& step : steps) {
        auto outcome = host.run(step.argv);
        if (!outcome && !step.may_fail)
            return std::move(outcome.error().context(join(step.argv, " ")));
    }
    return {};
}

/// Runs all of them, whatever happens.
void run_all(Host& host, const std::vector<Step>& steps, TakenBack& result) {
    for (const auto& step : steps) {
        const auto outcome = host.run(step.argv);
        if (!outcome && !step.may_fail)
            result.problems.push_back(join(step.argv, " ") + ": " + outcome.error().message);
    }
}

Result<> change(Host& host, const Plan& plan) {
    NOXSUP_TRY(run_steps(host, plan.before));
    for (const auto& file : plan.files) NOXSUP_TRY(host.write(file.path, file.after));
    NOXSUP_TRY(run_steps(host, plan.after));
    return host.wait_for_port(plan.card, plan.bridge);
}

Result<> restore_files(Host& host, const Plan& plan) {
    // The last one first, and all that can be: one that fails keeps the others from nothing.
    Result<> outcome;
    for (auto file = plan.files.rbegin(); file != plan.files.rend(); ++file) {
        auto restored =
            file->before ? host.write(file->path, *file->before) : host.remove(file->path);
        if (!restored && outcome) outcome = std::move(restored);
    }
    return outcome;
}

/// The files are as this set-up left them (or, after a crash on the way, as before).
Result<> check_unchanged(Host& host, const Plan& plan) {
    for (const auto& file : plan.files) {
        NOXSUP_TRY_VALUE(const auto now, host.read(file.path));
        if (now == file.after || now == file.before) continue;
        return Error{ErrorCode::wrong_state, file.path + " was changed since the bridge was set up",
                     "noxsup network undo --force puts it back all the same; the changes are lost"};
    }
    return {};
}

Error nothing(std::string_view what) {
    return {ErrorCode::wrong_state, std::string(what), "noxsup network ls tells what there is"};
}

/// The journals that count, when the user named none: those that `wanted` takes.
Result<Journal> choose(const JournalStore& store, const std::string& bridge,
                       bool (*wanted)(const Journal&), std::string_view none) {
    NOXSUP_TRY_VALUE(auto entries, store.list());
    std::vector<Journal> found;
    for (auto& entry : entries) {
        if (!bridge.empty() && entry.bridge != bridge) continue;
        // With a name the user means this one; without, one that is damaged may be meant too.
        if (!entry.journal) return std::move(entry.journal).error();
        if (wanted(*entry.journal)) found.push_back(std::move(*entry.journal));
    }
    if (found.empty()) return nothing(none);
    if (found.size() > 1) {
        return Error{ErrorCode::invalid_argument, "there are several bridges of noxsup's making",
                     "name one: --bridge " + found.front().plan.bridge};
    }
    return std::move(found.front());
}

}  // namespace

Result<TakenBack> take_back(Host& host, const JournalStore& store, Journal journal,
                            Commands commands) {
    // A crash on the way goes on from here at the next boot.
    journal.phase = Phase::undoing;
    NOXSUP_TRY(store.save(journal));
    TakenBack result;
    const auto& plan = journal.plan;
    if (commands == Commands::run) run_all(host, plan.undo_before, result);
    auto restored = restore_files(host, plan);
    if (commands == Commands::run) run_all(host, plan.undo_after, result);
    if (!restored) return std::move(restored).error();
    NOXSUP_TRY(store.remove(plan.bridge));
    return result;
}

Result<Journal> carry_out(Host& host, const JournalStore& store, const Plan& plan,
                          std::chrono::milliseconds timeout,
                          const std::function<Result<>()>& arm_watcher) {
    Journal journal;
    journal.plan = plan;
    journal.created_at = rfc3339_now();
    NOXSUP_TRY_VALUE(journal.boot_id, read_boot_id());
    journal.deadline = boot_time_now() + apply_limit;
    NOXSUP_TRY(store.save(journal));
    auto outcome = arm_watcher();
    if (!outcome) {
        NOXSUP_TRY(store.remove(plan.bridge));
        return std::move(outcome).error();
    }
    outcome = change(host, plan);
    if (outcome) {
        journal.phase = Phase::applied;
        journal.deadline = boot_time_now() + timeout;
        outcome = store.save(journal);
        if (outcome) return journal;
    }
    auto error = std::move(outcome).error();
    const auto back = take_back(host, store, journal, Commands::run);
    if (!back) {
        error.evidence.push_back("and it could not be taken back yet: " + back.error().message);
        error.hint = "noxsup network undo tries again, and so does the next boot";
        return error;
    }
    error.evidence.insert(error.evidence.end(), back->problems.begin(), back->problems.end());
    if (error.hint.empty()) error.hint = "everything is as it was before";
    return error;
}

Result<Journal> confirm(const JournalStore& store, const std::string& bridge) {
    NOXSUP_TRY(store.prepare());
    NOXSUP_TRY_VALUE(const auto lock, store.lock(lock_limit));
    const auto is_pending = [](const Journal& journal) { return !journal.confirmed; };
    NOXSUP_TRY_VALUE(auto journal,
                     choose(store, bridge, is_pending,
                            "there is nothing to confirm: no set-up waits for it (one that was not "
                            "confirmed in time has been rolled back)"));
    NOXSUP_TRY_VALUE(const auto boot_id, read_boot_id());
    if (journal.phase != Phase::applied || journal.boot_id != boot_id) {
        return nothing("the set-up of " + journal.plan.bridge +
                       " is not whole, and is rolled back");
    }
    NOXSUP_TRY(store.confirm(journal.plan.bridge));
    journal.confirmed = true;
    return journal;
}

Result<std::pair<Journal, TakenBack>> undo(Host& host, const JournalStore& store,
                                           const std::string& bridge, bool force) {
    NOXSUP_TRY(store.prepare());
    NOXSUP_TRY_VALUE(const auto lock, store.lock(lock_limit));
    NOXSUP_TRY_VALUE(auto journal, choose(
                                       store, bridge, [](const Journal&) { return true; },
                                       bridge.empty() ? "there is no bridge of noxsup's making"
                                                      : bridge + " was not set up by noxsup"));
    if (!force && journal.phase == Phase::applied) NOXSUP_TRY(check_unchanged(host, journal.plan));
    NOXSUP_TRY_VALUE(auto result, take_back(host, store, journal, Commands::run));
    return std::pair(std::move(journal), std::move(result));
}

Result<Recovered> recover(Host& host, const JournalStore& store, bool booting) {
    Recovered result;
    if (!store.has_pending()) return result;
    NOXSUP_TRY(store.prepare());
    NOXSUP_TRY_VALUE(const auto lock, store.lock(lock_limit));
    NOXSUP_TRY_VALUE(const auto boot_id, read_boot_id());
    NOXSUP_TRY_VALUE(auto entries, store.list());
    for (auto& entry : entries) {
        if (!entry.journal) {
            result.problems.push_back(entry.journal.error().message);
            continue;
        }
        auto& journal = *entry.journal;
        if (journal.confirmed) continue;
        const bool of_this_boot = journal.boot_id == boot_id;
        const bool in_time =
            of_this_boot && journal.phase != Phase::undoing && boot_time_now() <= journal.deadline;
        if (in_time && !booting) continue;
        const auto commands = booting && !of_this_boot ? Commands::leave : Commands::run;
        const auto back = take_back(host, store, std::move(journal), commands);
        if (!back) {
            result.problems.push_back(entry.bridge + ": " + back.error().message);
            continue;
        }
        result.bridges.push_back(entry.bridge);
        result.problems.insert(result.problems.end(), back->problems.begin(), back->problems.end());
    }
    return result;
}

}  // namespace noxsup::netbridge::setup
