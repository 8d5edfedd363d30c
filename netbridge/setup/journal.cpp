#include "netbridge/setup/journal.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <map>
#include <thread>

#include "supervisor/base/checksum.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::netbridge::setup {
namespace {

constexpr int format_version = 1;
constexpr std::size_t journal_limit = std::size_t{8} << 20;
constexpr std::string_view pending_suffix = ".pending";
constexpr std::string_view confirmed_suffix = ".confirmed";
constexpr std::array<std::string_view, 3> phases = {"applying", "applied", "undoing"};

Error damaged(std::string_view why) {
    return {ErrorCode::protocol_error, "the journal is damaged: " + std::string(why)};
}

Result<Journal> from_body(const Json& body) {
    Journal journal;
    NOXSUP_TRY_VALUE(const auto word, json_member<std::string>(body, "phase"));
    const auto* const phase = std::ranges::find(phases, word);
    if (phase == phases.end()) return damaged("it has no phase \"" + word + "\"");
    journal.phase = static_cast<Phase>(phase - phases.begin());
    NOXSUP_TRY_VALUE(journal.boot_id, json_member<std::string>(body, "boot_id"));
    NOXSUP_TRY_VALUE(const auto deadline, json_member<std::int64_t>(body, "deadline_ms"));
    journal.deadline = BootTime(deadline);
    NOXSUP_TRY_VALUE(journal.created_at, json_member<std::string>(body, "created_at"));
    NOXSUP_TRY_VALUE(const auto plan, json_member<Json>(body, "plan"));
    NOXSUP_TRY_VALUE(journal.plan, plan_from_json(plan));
    return journal;
}

/// A file of the directory, or nothing. The directory is root's alone.
Result<std::optional<Journal>> read_journal(const std::filesystem::path& path) {
    if (::access(path.c_str(), F_OK) != 0 && errno == ENOENT) return std::optional<Journal>();
    auto text = read_file(path, journal_limit);
    if (!text) {
        auto error = std::move(text).error();
        if (::access(path.c_str(), R_OK) != 0 && errno == EACCES) {
            error.code = ErrorCode::host_lacks_right;
            error.hint = "run it as root: sudo noxsup network ...";
        }
        return error;
    }
    auto journal = journal_from_text(*text);
    if (!journal) return std::move(journal.error().context(path.string()));
    journal->confirmed = path.native().ends_with(confirmed_suffix);
    return std::optional(std::move(*journal));
}

}  // namespace

BootTime boot_time_now() {
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return std::chrono::duration_cast<BootTime>(std::chrono::seconds(now.tv_sec) +
                                                std::chrono::nanoseconds(now.tv_nsec));
}

Result<std::string> read_boot_id() {
    constexpr std::size_t limit = 100;
    NOXSUP_TRY_VALUE(const auto text, read_file("/proc/sys/kernel/random/boot_id", limit));
    return std::string(trim(text));
}

std::string journal_to_text(const Journal& journal) {
    const Json body{{"phase", phases[static_cast<std::size_t>(journal.phase)]},
                    {"boot_id", journal.boot_id},
                    {"deadline_ms", journal.deadline.count()},
                    {"created_at", journal.created_at},
                    {"plan", plan_to_json(journal.plan)}};
    const Json file{
        {"noxsup_network", format_version}, {"checksum", json_checksum(body)}, {"body", body}};
    return dump_json(file) + "\n";
}

Result<Journal> journal_from_text(std::string_view text) {
    const auto file = parse_json(text);
    if (!file) return damaged(file.error().message);
    const auto version = json_member<int>(*file, "noxsup_network");
    if (!version) return damaged(version.error().message);
    if (*version != format_version) {
        return Error{ErrorCode::protocol_error,
                     "the journal is of version " + std::to_string(*version) +
                         ", which this noxsup does not know",
                     "use the noxsup that made it"};
    }
    const auto checksum = json_member<std::string>(*file, "checksum");
    const auto body = json_member<Json>(*file, "body");
    if (!checksum || !body) return damaged("it has no checksum or no body");
    if (*checksum != json_checksum(*body)) return damaged("its checksum does not match");
    return from_body(*body);
}

JournalStore::JournalStore(std::filesystem::path directory) : directory_(std::move(directory)) {}

std::filesystem::path JournalStore::pending(const std::string& bridge) const {
    return directory_ / (bridge + std::string(pending_suffix));
}

std::filesystem::path JournalStore::confirmed(const std::string& bridge) const {
    return directory_ / (bridge + std::string(confirmed_suffix));
}

Result<> JournalStore::prepare() const {
    constexpr mode_t for_others = 0750;  // as the package and the unit make it
    NOXSUP_TRY(make_directories(directory_.parent_path(), for_others));
    NOXSUP_TRY(make_directories(directory_, 0700));
    NOXSUP_TRY_VALUE(const auto fd, open_file(directory_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return errno_error("stat " + directory_.string(), errno);
    constexpr mode_t others = 077;
    if (info.st_uid != ::geteuid() || (info.st_mode & others) != 0) {
        return Error{ErrorCode::host_lacks_right,
                     directory_.string() + " is not for its owner alone",
                     "sudo chown root:root " + directory_.string() + " && sudo chmod 0700 " +
                         directory_.string()};
    }
    return sync_directory(directory_.parent_path());
}

Result<UniqueFd> JournalStore::lock(std::chrono::milliseconds limit) const {
    const auto path = directory_ / "lock";
    NOXSUP_TRY_VALUE(auto fd, open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return errno_error("lock " + path.string(), errno);
        }
        if (std::chrono::steady_clock::now() >= deadline) {
            return Error{ErrorCode::wrong_state,
                         "another noxsup is changing the network of this host now",
                         "wait a moment, then: noxsup network ls"};
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return fd;
}

Result<std::vector<JournalEntry>> JournalStore::list() const {
    std::error_code failure;
    std::map<std::string, bool> bridges;
    for (const auto& entry : std::filesystem::directory_iterator(directory_, failure)) {
        auto path = entry.path().filename();
        if (path.extension() != pending_suffix && path.extension() != confirmed_suffix) continue;
        bridges[path.stem().string()] = true;
    }
    if (failure == std::errc::permission_denied) {
        return Error{ErrorCode::host_lacks_right, "no right to read " + directory_.string(),
                     "run it as root: sudo noxsup network ls"};
    }
    std::vector<JournalEntry> entries;
    for (const auto& [bridge, is_there] : bridges) {
        auto journal = load(bridge);
        if (!journal) {
            entries.push_back({bridge, std::move(journal).error()});
        } else if (*journal) {
            entries.push_back({bridge, std::move(**journal)});
        }
    }
    return entries;
}

Result<std::optional<Journal>> JournalStore::load(const std::string& bridge) const {
    // A crash between the two calls of save() leaves both; the pending one counts.
    NOXSUP_TRY_VALUE(auto journal, read_journal(pending(bridge)));
    if (journal) return journal;
    return read_journal(confirmed(bridge));
}

bool JournalStore::has_pending() const {
    std::error_code failure;
    const std::filesystem::directory_iterator entries(directory_, failure);
    return std::ranges::any_of(
        entries, [](const auto& entry) { return entry.path().extension() == pending_suffix; });
}

Result<> JournalStore::save(const Journal& journal) const {
    NOXSUP_TRY(write_file_atomic(pending(journal.plan.bridge), journal_to_text(journal), 0600));
    if (::unlink(confirmed(journal.plan.bridge).c_str()) == 0) return sync_directory(directory_);
    return {};
}

Result<> JournalStore::confirm(const std::string& bridge) const {
    if (::rename(pending(bridge).c_str(), confirmed(bridge).c_str()) != 0) {
        return errno_error("rename " + pending(bridge).string(), errno);
    }
    return sync_directory(directory_);
}

Result<> JournalStore::remove(const std::string& bridge) const {
    for (const auto& path : {pending(bridge), confirmed(bridge)}) {
        if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
            return errno_error("remove " + path.string(), errno);
        }
    }
    return sync_directory(directory_);
}

}  // namespace noxsup::netbridge::setup
