// The journal of a set-up: what was there before, on disk before anything changes, so that any way
// out leads back.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netbridge/setup/plan.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::netbridge::setup {

/// Where the system keeps them.
inline constexpr const char* journal_directory = "/var/lib/noxsup/network";

/// applying: the change is under way. applied: it is done and waits to be confirmed. undoing: it is
/// on its way back.
enum class Phase { applying, applied, undoing };

/// Milliseconds since the host was started, its sleep included; never set back.
using BootTime = std::chrono::milliseconds;
BootTime boot_time_now();
/// Names this boot of the host. Errors: unreadable_file.
Result<std::string> read_boot_id();

/// One bridge's set-up.
struct Journal {
    Phase phase = Phase::applying;
    bool confirmed = false;  ///< by the file's name, not by its content
    std::string boot_id;     ///< of the boot that `deadline` belongs to
    BootTime deadline{0};    ///< when it is rolled back
    std::string created_at;  ///< RFC 3339
    Plan plan;
};

/// The file's text: {"noxsup_network":1,"checksum":"crc32:...","body":{...}}.
std::string journal_to_text(const Journal& journal);
/// Errors: protocol_error, telling damage from another version.
Result<Journal> journal_from_text(std::string_view text);

/// A journal that cannot be read, or one that can.
struct JournalEntry {
    std::string bridge;
    Result<Journal> journal;
};

/// The journals of a directory: BRIDGE.pending until it is confirmed, BRIDGE.confirmed from then
/// on. All changes are one rename(2), on the medium when the call returns.
class JournalStore {
  public:
    explicit JournalStore(std::filesystem::path directory = journal_directory);

    /// Makes the directory, for root alone. Errors: io_error; host_lacks_right where it is not ours
    /// alone.
    [[nodiscard]] Result<> prepare() const;
    /// Held by whoever changes a journal or what it tells of; waits at most `limit`. Errors:
    /// wrong_state when another holds it so long. @pre prepare()
    [[nodiscard]] Result<UniqueFd> lock(std::chrono::milliseconds limit) const;

    /// All of them, by name; none where there is no directory. Errors: host_lacks_right when the
    /// directory may not be read.
    [[nodiscard]] Result<std::vector<JournalEntry>> list() const;
    /// Nothing where the bridge has none. Errors: as journal_from_text().
    [[nodiscard]] Result<std::optional<Journal>> load(const std::string& bridge) const;
    /// Whether some journal is unconfirmed; asked without reading any.
    [[nodiscard]] bool has_pending() const;

    /// Writes BRIDGE.pending; one that was confirmed is pending again.
    [[nodiscard]] Result<> save(const Journal& journal) const;
    [[nodiscard]] Result<> confirm(const std::string& bridge) const;
    [[nodiscard]] Result<> remove(const std::string& bridge) const;

    /// What the watcher says goes here.
    [[nodiscard]] std::filesystem::path log() const { return directory_ / "watcher.log"; }

  private:
    [[nodiscard]] std::filesystem::path pending(const std::string& bridge) const;
    [[nodiscard]] std::filesystem::path confirmed(const std::string& bridge) const;

    std::filesystem::path directory_;
};

}  // namespace noxsup::netbridge::setup
