#include "imaging/grub_menu.hpp"

#include <algorithm>
#include <optional>
#include <vector>

#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

/// Of the kernel on arm64 (COMMAND_LINE_SIZE); amd64 takes as much.
constexpr std::size_t max_command_line = 2000;

Error uncertain(std::string what) {
    return {ErrorCode::invalid_argument, "its boot menu " + std::move(what)};
}

/// The words of one command. Quoted ones are taken where the quotes are around all of a word.
Result<std::vector<std::string>> split_words(std::string_view line) {
    std::vector<std::string> words;
    for (std::size_t at = 0; at < line.size();) {
        const char c = line[at];
        if (c == ' ' || c == '\t') {
            ++at;
            continue;
        }
        const bool quoted = c == '\'' || c == '"';
        const auto end = quoted ? line.find(c, at + 1) : line.find_first_of(" \t", at);
        if (quoted && end == std::string_view::npos) return uncertain("has a quote without an end");
        const auto first = quoted ? at + 1 : at;
        words.emplace_back(line.substr(first, std::min(end, line.size()) - first));
        at = quoted ? end + 1 : std::min(end, line.size());
    }
    return words;
}

bool is_plain(std::string_view word) {
    return !word.empty() && std::ranges::all_of(word, [](char c) {
        return c > ' ' && c < '\x7f' && std::string_view("$\\'\"`;{}").find(c) == std::string::npos;
    });
}

/// The commands of the entry that holds them.
class EntryReader {
  public:
    Result<> command(std::string_view name, const std::vector<std::string>& words) {
        const bool is_kernel = name == "linux";
        if (!is_kernel && name != "initrd") {
            if (name.starts_with("linux") || name.starts_with("initrd") || name == "chainloader" ||
                name == "multiboot" || name == "configfile" || name == "devicetree") {
                return uncertain("uses " + escape_for_terminal(name));
            }
            return {};
        }
        if (conditions_ > 0) return uncertain("has a condition before its kernel");
        auto& path = is_kernel ? entry_.kernel : entry_.initrd;
        if (!path.empty() || words.size() < 2) return uncertain("names several kernels");
        if (!words[1].starts_with('/') || !is_plain(words[1]))
            return uncertain("has a path that is not plain");
        path = words[1];
        return is_kernel ? read_command_line(words) : read_one_initrd(words);
    }

    /// One of several lines, or all of it in one.
    Result<> condition(const std::vector<std::string>& words) {
        if (words.back() != "fi") {
            ++conditions_;
            return {};
        }
        const bool loads = std::ranges::any_of(words, [](const std::string& word) {
            return word.starts_with("linux") || word.starts_with("initrd");
        });
        if (loads) return uncertain("has a condition before its kernel");
        return {};
    }
    void end_condition() { conditions_ = std::max(0, conditions_ - 1); }
    [[nodiscard]] bool complete() const { return !entry_.kernel.empty(); }
    BootEntry take() { return std::move(entry_); }

  private:
    Result<> read_command_line(const std::vector<std::string>& words) {
        for (std::size_t i = 2; i < words.size(); ++i) {
            // Ubuntu's word for who takes the screen over.
            if (words[i] == "$vt_handoff" || words[i] == "${vt_handoff}") continue;
            if (!is_plain(words[i]))
                return uncertain("has a kernel command line that is not plain");
            if (!entry_.command_line.empty()) entry_.command_line += ' ';
            entry_.command_line += words[i];
        }
        if (entry_.command_line.size() > max_command_line)
            return uncertain("has a kernel command line that is too long");
        return {};
    }

    static Result<> read_one_initrd(const std::vector<std::string>& words) {
        if (words.size() > 2) return uncertain("names several initial RAM disks");
        return {};
    }

    BootEntry entry_;
    int conditions_ = 0;
};

/// Whether the first entry is what boots.
Result<> check_default(std::string_view name, const std::vector<std::string>& words) {
    if (name != "set" || words.size() != 2 || !words[1].starts_with("default=")) return {};
    auto value = words[1].substr(std::string_view("default=").size());
    std::erase_if(value, [](char c) { return c == '"' || c == '\''; });
    if (value == "0" || value == "${next_entry}") return {};
    return uncertain("boots another entry than its first one");
}

Result<> check_environment(std::string_view environment) {
    for (const auto& line : split(environment, '\n')) {
        constexpr std::string_view next = "next_entry=";
        if (line.starts_with(next) && line.size() > next.size())
            return uncertain("boots another entry once");
    }
    return {};
}

}  // namespace

Result<BootEntry> default_boot_entry(std::string_view menu, std::string_view environment) {
    NOXSUP_TRY(check_environment(environment));
    std::optional<EntryReader> entry;
    int submenus = 0;
    for (const auto& raw : split(menu, '\n')) {
        const auto line = trim(raw);
        if (line.empty() || line.starts_with('#')) continue;
        const auto name = line.substr(0, std::min(line.find_first_of(" \t"), line.size()));
        if (entry && line == "}") {
            if (!entry->complete()) return uncertain("has a first entry without a kernel");
            return entry->take();
        }
        if (name == "submenu") ++submenus;
        if (name == "menuentry") {
            if (submenus > 0 || !line.ends_with('{')) return uncertain("begins with a submenu");
            entry.emplace();
            continue;
        }
        NOXSUP_TRY_VALUE(const auto words, split_words(line));
        NOXSUP_TRY(check_default(name, words));
        if (!entry) continue;
        if (name == "if") NOXSUP_TRY(entry->condition(words));
        if (name == "fi") entry->end_condition();
        NOXSUP_TRY(entry->command(name, words));
    }
    return uncertain("has no entry");
}

}  // namespace noxsup::imaging
