#include "supervisor/launch/vm_uids.hpp"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <limits>

#include "supervisor/base/file.hpp"
#include "supervisor/base/number.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::launch {
namespace {

constexpr uid_t first_free_uid = 1000;  ///< below are the system's own accounts
constexpr uid_t nobody = 65'534;
constexpr uid_t no_16_bit_uid = 65'535;
constexpr std::size_t small_file = std::size_t{1} << 20;

std::vector<std::string> words_of(std::string_view line) {
    auto words = split(line, ' ');
    std::erase(words, "");
    return words;
}

/// uids of every process that lives.
std::set<uid_t> living_uids() {
    std::set<uid_t> uids;
    std::error_code failure;
    for (std::filesystem::directory_iterator it("/proc", failure), end; !failure && it != end;
         it.increment(failure)) {
        const auto name = it->path().filename().string();
        struct stat info {};
        if (whole_number<pid_t>(name) && ::stat(it->path().c_str(), &info) == 0)
            uids.insert(info.st_uid);
    }
    return uids;
}

std::vector<UidRange> subordinate_ids() {
    std::vector<UidRange> ranges;
    for (const auto* path : {"/etc/subuid", "/etc/subgid"}) {
        const auto text = read_file(path, small_file);
        if (!text) continue;
        const auto found = parse_subordinate_ids(*text);
        ranges.insert(ranges.end(), found.begin(), found.end());
    }
    return ranges;
}

bool is_account(uid_t uid) {
    return ::getpwuid(uid) != nullptr || ::getgrgid(uid) != nullptr;
}

std::string text_of(const UidRange& range) {
    return std::to_string(range.first) + "-" + std::to_string(range.last);
}

}  // namespace

Result<UidRange> parse_uid_range(std::string_view text) {
    const auto dash = text.find('-');
    const auto first = whole_number<uid_t>(trim(text.substr(0, dash)));
    const auto last = dash == std::string_view::npos
                          ? std::nullopt
                          : whole_number<uid_t>(trim(text.substr(dash + 1)));
    const Error error(ErrorCode::invalid_argument,
                      "\"" + std::string(text) + "\" is no range of uids for VMs",
                      "two numbers such as \"" + text_of(default_vm_uids) +
                          "\", without those of the system (below 1000, 65534, 65535)");
    if (!first || !last) return error;
    const UidRange range{*first, *last};
    constexpr auto highest = std::numeric_limits<uid_t>::max();
    if (range.first > range.last || range.first < first_free_uid || range.contains(nobody) ||
        range.contains(no_16_bit_uid) || range.last >= highest - 1) {
        return error;
    }
    return range;
}

std::vector<UidRange> parse_subordinate_ids(std::string_view text) {
    std::vector<UidRange> ranges;
    for (const auto& line : split(text, '\n')) {
        const auto fields = split(line, ':');
        if (fields.size() != 3) continue;
        const auto first = whole_number<uid_t>(fields[1]);
        const auto count = whole_number<uid_t>(trim(fields[2]));
        if (!first || !count || *count == 0) continue;
        const auto most = std::numeric_limits<uid_t>::max() - *first;
        ranges.push_back({*first, *first + std::min(*count - 1, most)});
    }
    return ranges;
}

bool maps_uids(std::string_view uid_map, const UidRange& range) {
    for (const auto& line : split(uid_map, '\n')) {
        const auto words = words_of(line);
        if (words.size() != 3) continue;
        const auto inside = whole_number<std::uint64_t>(words[0]);
        const auto count = whole_number<std::uint64_t>(words[2]);
        if (inside && count && *inside <= range.first && range.last < *inside + *count) return true;
    }
    return false;
}

Result<uid_t> choose_uid(const UidRange& range, std::string_view vm_id,
                         const std::function<bool(uid_t)>& is_free) {
    const auto size = std::uint64_t{range.last} - range.first + 1;
    const auto start = whole_number<std::uint64_t>(vm_id, 16).value_or(0) % size;
    for (std::uint64_t i = 0; i < size; ++i) {
        const auto uid = range.first + static_cast<uid_t>((start + i) % size);
        if (is_free(uid)) return uid;
    }
    return Error{ErrorCode::no_uids, "all uids for VMs (" + text_of(range) + ") are in use",
                 "delete a VM, or name a larger range as vm_uids in config.json"};
}

VmUids::VmUids(UidRange range) : range_(range) {
    if (::geteuid() != 0) {
        why_none_ = "the supervisor is not root";
        return;
    }
    for (const auto* path : {"/proc/self/uid_map", "/proc/self/gid_map"}) {
        const auto map = read_file(path, small_file);
        // Without the file there are no user namespaces.
        if (map && !maps_uids(*map, range_)) {
            why_none_ = "this user namespace has no ids " + text_of(range_);
        }
    }
}

Result<std::optional<uid_t>> VmUids::choose(std::optional<uid_t> had, std::string_view vm_id,
                                            const std::set<uid_t>& taken) const {
    if (!why_none_.empty()) return std::optional<uid_t>();
    const auto living = living_uids();
    const auto reserved = subordinate_ids();
    const auto is_free = [&](uid_t uid) {
        const auto holds = [uid](const UidRange& other) { return other.contains(uid); };
        return !taken.contains(uid) && !living.contains(uid) &&
               std::ranges::none_of(reserved, holds) && !is_account(uid);
    };
    if (had && range_.contains(*had) && is_free(*had)) return had;
    NOXSUP_TRY_VALUE(const auto uid, choose_uid(range_, vm_id, is_free));
    return std::optional<uid_t>(uid);
}

}  // namespace noxsup::launch
