#include "supervisor/state/vm_store.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>

#include "supervisor/base/file.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/random.hpp"

namespace noxsup::state {
namespace {

constexpr std::size_t max_record_bytes = std::size_t{1} << 20;
constexpr std::string_view new_prefix = ".new-";
constexpr std::string_view trash_prefix = ".trash-";

StoredVm damaged(std::string name, std::string problem) {
    StoredVm vm;
    vm.name = std::move(name);
    vm.problem = std::move(problem);
    return vm;
}

/// Reads one generation of the record; its name must be the directory's.
ParsedRecord read_generation(const std::filesystem::path& directory, const char* file) {
    const auto text = read_file(directory / file, max_record_bytes);
    ParsedRecord parsed;
    if (!text) {
        parsed.problem = text.error().message;
        return parsed;
    }
    parsed = parse_record(*text);
    if (parsed.kind == RecordKind::ours && parsed.record->spec.name != directory.filename()) {
        parsed.kind = RecordKind::damaged;
        parsed.problem = "it is of a VM named " + parsed.record->spec.name;
    }
    return parsed;
}

StoredVm read_vm(const std::filesystem::path& directory) {
    StoredVm vm;
    vm.name = directory.filename();
    std::error_code failure;
    const bool present =
        std::filesystem::exists(std::filesystem::symlink_status(directory / "meta.json", failure));
    const bool previous = std::filesystem::exists(
        std::filesystem::symlink_status(directory / "meta.json.prev", failure));
    if (!present && !previous) {
        // Ours always have a record from their first moment on; this is someone else's.
        vm.kind = RecordKind::foreign;
        return vm;
    }
    auto newest = read_generation(directory, "meta.json");
    vm.kind = newest.kind;
    if (newest.kind != RecordKind::damaged) {
        vm.record = std::move(newest.record);
        return vm;
    }
    auto older = read_generation(directory, "meta.json.prev");
    if (older.kind == RecordKind::ours) {
        vm.kind = RecordKind::ours;
        vm.record = std::move(older.record);
        // A record that is whole and of the same VM was written by a rename that got no further.
        const bool begun_rename = newest.record && newest.record->spec.uuid == vm.record->spec.uuid;
        if (!begun_rename) {
            vm.problem =
                "meta.json is damaged (" + newest.problem + "); the generation before it is used";
        }
        return vm;
    }
    return damaged(vm.name, "meta.json: " + newest.problem);
}

/// Keeps the present file under the name of the previous generation, without a moment in which
/// neither is there: a second link to it, renamed over the old previous one. A damaged file is not
/// worth keeping: the one before it may be all there is.
Result<> keep_previous(const std::filesystem::path& directory) {
    const auto file = directory / "meta.json";
    if (read_generation(directory, "meta.json").kind != RecordKind::ours) return {};
    const auto previous = file.string() + ".prev";
    const auto link = previous + "." + random_hex(6) + ".tmp";
    if (::link(file.c_str(), link.c_str()) != 0) {
        if (errno == ENOENT) return {};
        return errno_error("link " + link, errno);
    }
    if (::rename(link.c_str(), previous.c_str()) != 0) {
        auto error = errno_error("rename to " + previous, errno);
        ::unlink(link.c_str());
        return error;
    }
    // Renaming a name onto another link of the same file does nothing and leaves both.
    ::unlink(link.c_str());
    return {};
}

/// After a rename within `parent`: fsync of it. When that fails the rename is taken back, so that
/// the caller's error means that nothing has changed.
Result<> sync_or_undo(const std::filesystem::path& parent, const std::filesystem::path& now,
                      const std::filesystem::path& before) {
    auto synced = sync_directory(parent);
    if (!synced && ::rename(now.c_str(), before.c_str()) != 0) {
        log_error(
            errno_error("rename " + now.string() + " back to " + before.string(), errno).message);
    }
    return synced;
}

/// Moves a VM's directory to a name that is free. Errors: already_exists, io_error.
Result<> move_to_name(const std::filesystem::path& from, const std::filesystem::path& to,
                      const std::string& name) {
    // RENAME_NOREPLACE: another tool may have made a directory of that name meanwhile.
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0) {
        if (errno == EEXIST) {
            return Error{ErrorCode::already_exists, "a VM named " + name + " exists already",
                         "choose another name, or remove it with noxsup delete " + name};
        }
        return errno_error("rename to " + to.string(), errno);
    }
    return sync_or_undo(to.parent_path(), to, from);
}

/// "meta.json.HEX.tmp" and "meta.json.prev.HEX.tmp", as save() names them.
bool is_interrupted_save(std::string_view file) {
    constexpr std::string_view start = "meta.json.";
    constexpr std::string_view previous = "prev.";
    constexpr std::string_view end = ".tmp";
    if (!file.starts_with(start) || !file.ends_with(end)) return false;
    file.remove_prefix(start.size());
    file.remove_suffix(std::min(end.size(), file.size()));
    if (file.starts_with(previous)) file.remove_prefix(previous.size());
    return file.size() == 12 && file.find_first_not_of("0123456789abcdef") == file.npos;
}

/// What saves that a crash cut off left in a VM's directory. Only beside a record that can be read:
/// where there is none, a half one is better than nothing.
void add_interrupted_saves(const std::filesystem::path& directory,
                           std::vector<std::filesystem::path>& left) {
    std::vector<std::filesystem::path> found;
    std::error_code failure;
    for (std::filesystem::directory_iterator it(directory, failure), end; !failure && it != end;
         it.increment(failure)) {
        if (is_interrupted_save(it->path().filename().string())) found.push_back(it->path());
    }
    if (found.empty() || read_generation(directory, "meta.json").kind != RecordKind::ours) return;
    left.insert(left.end(), found.begin(), found.end());
}

}  // namespace

Result<std::vector<StoredVm>> VmStore::load_all() const {
    std::vector<StoredVm> vms;
    std::error_code failure;
    for (std::filesystem::directory_iterator it(home_.vms(), failure), end; !failure && it != end;
         it.increment(failure)) {
        const auto name = it->path().filename().string();
        if (name.starts_with('.')) continue;
        std::error_code ignored;
        if (!it->is_directory(ignored) || it->is_symlink(ignored)) continue;
        vms.push_back(read_vm(it->path()));
    }
    if (failure) return errno_error("read " + home_.vms().string(), failure.value());
    std::ranges::sort(vms, {}, &StoredVm::name);
    return vms;
}

Result<StoredVm> VmStore::load(std::string_view name) const {
    const auto directory = home_.vm(name);
    std::error_code ignored;
    if (name.empty() || name.starts_with('.') || name.find('/') != std::string_view::npos ||
        !std::filesystem::is_directory(std::filesystem::symlink_status(directory, ignored))) {
        return Error{ErrorCode::vm_not_found, "there is no VM named " + std::string(name),
                     "see noxsup list"};
    }
    return read_vm(directory);
}

Result<> VmStore::save(const VmRecord& record) const {
    const auto directory = home_.vm(record.spec.name);
    NOXSUP_TRY(keep_previous(directory));
    return write_file_atomic(directory / "meta.json", to_text(record), 0600);
}

Result<> VmStore::rename(std::string_view old_name, const VmRecord& record) const {
    const auto& name = record.spec.name;
    const auto from = home_.vm(old_name);
    const auto to = home_.vm(name);
    NOXSUP_TRY(keep_previous(from));
    // Until the directory is moved the generation before is the one that is read; it is to be on
    // the medium before the other one is.
    NOXSUP_TRY(sync_directory(from));
    NOXSUP_TRY(write_file_atomic(from / "meta.json", to_text(record), 0600));
    if (auto moved = move_to_name(from, to, name); !moved) {
        // A reader would take the generation before it by itself; tidier is better.
        const auto text = read_file(from / "meta.json.prev", max_record_bytes);
        if (text) static_cast<void>(write_file_atomic(from / "meta.json", *text, 0600));
        return moved;
    }
    // From here on the VM has its new name; what follows may fail without harm.
    const auto kept = write_file_atomic(to / "meta.json.prev", to_text(record), 0600);
    if (!kept) log_warning(kept.error().message);
    const auto link = to / (std::string(old_name) + ".qcow2");
    std::error_code ignored;
    if (std::filesystem::is_symlink(link, ignored))
        std::filesystem::rename(link, to / (name + ".qcow2"), ignored);
    return {};
}

Result<std::filesystem::path> VmStore::begin_create(std::string_view id) const {
    auto directory = home_.vms() / (std::string(new_prefix) + std::string(id));
    if (::mkdir(directory.c_str(), 0700) != 0)
        return errno_error("make directory " + directory.string(), errno);
    return directory;
}

Result<> VmStore::finish_create(const std::filesystem::path& directory,
                                const VmRecord& record) const {
    NOXSUP_TRY(write_file_atomic(directory / "meta.json", to_text(record), 0600));
    return move_to_name(directory, home_.vm(record.spec.name), record.spec.name);
}

Result<> VmStore::remove(std::string_view name) const {
    const auto trash = home_.vms() / (std::string(trash_prefix) + random_hex(6));
    if (::rename(home_.vm(name).c_str(), trash.c_str()) != 0) {
        return errno_error("remove " + home_.vm(name).string(), errno);
    }
    NOXSUP_TRY(sync_or_undo(home_.vms(), trash, home_.vm(name)));
    // The VM is gone; what is left of its files the next start of the supervisor sweeps.
    if (const auto removed = remove_tree(trash); !removed) log_warning(removed.error().message);
    return {};
}

Result<> VmStore::sweep() const {
    std::error_code failure;
    std::vector<std::filesystem::path> left;
    for (std::filesystem::directory_iterator it(home_.vms(), failure), end; !failure && it != end;
         it.increment(failure)) {
        const auto name = it->path().filename().string();
        std::error_code ignored;
        if (name.starts_with(new_prefix) || name.starts_with(trash_prefix)) {
            left.push_back(it->path());
        } else if (is_directory(it->symlink_status(ignored))) {
            add_interrupted_saves(it->path(), left);
            // Of a restore that had not begun; one that has makes it again.
            const auto vars = it->path() / "snapshots" / "efivars.tmp";
            if (std::filesystem::exists(symlink_status(vars, ignored))) left.push_back(vars);
        }
    }
    if (failure) return errno_error("read " + home_.vms().string(), failure.value());
    std::optional<Error> first;
    for (const auto& path : left) {
        if (auto removed = remove_tree(path)) {
            log_info("removed what was left of " + path.string());
        } else if (!first) {
            first = std::move(removed).error();
        }
    }
    if (first) return *std::move(first);
    return {};
}

Result<> remove_tree(const std::filesystem::path& path) {
    std::error_code failure;
    std::filesystem::remove_all(path, failure);
    if (failure) return errno_error("remove " + path.string(), failure.value());
    return {};
}

}  // namespace noxsup::state
