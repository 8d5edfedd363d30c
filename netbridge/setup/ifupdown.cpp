#include "netbridge/setup/ifupdown.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <array>

#include "supervisor/base/text.hpp"

namespace noxsup::netbridge::setup {
namespace {

constexpr const char* main_file = "/etc/network/interfaces";
constexpr const char* fix =
    "make the bridge by hand in /etc/network/interfaces, see bridge-utils-interfaces(5)";

/// What begins a stanza, and so ends the one before (interfaces(5)).
constexpr std::array<std::string_view, 12> stanza_words = {
    "iface",  "mapping",          "auto",     "allow-auto",   "allow-hotplug",
    "source", "source-directory", "template", "no-auto-down", "no-scripts",
    "rename", "allow-bridge"};
constexpr std::array<std::string_view, 3> auto_words = {"auto", "allow-auto", "allow-hotplug"};
constexpr std::array<std::string_view, 4> methods = {"dhcp", "static", "manual", "auto"};
/// Options that mean the same on a bridge as on a card.
constexpr std::array<std::string_view, 40> options = {
    "address",         "netmask",        "broadcast",   "network",     "gateway",
    "metric",          "pointopoint",    "mtu",         "scope",       "hwaddress",
    "dns-nameservers", "dns-nameserver", "dns-search",  "dns-domain",  "dns-sortlist",
    "hostname",        "leasehours",     "leasetime",   "client",      "vendor",
    "accept_ra",       "autoconf",       "privext",     "dhcp",        "preferred-lifetime",
    "dad-attempts",    "dad-interval",   "ll-attempts", "ll-interval", "media",
    "request_prefix",  "description",    "nodad",       "pre-up",      "up",
    "post-up",         "down",           "pre-down",    "post-down",   "request-prefix"};

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& list, std::string_view word) {
    return std::ranges::find(list, word) != list.end();
}

std::vector<std::string> words_of(std::string_view line) {
    std::vector<std::string> words;
    std::string word;
    for (const char c : line) {
        if (c != ' ' && c != '\t') {
            word += c;
        } else if (!word.empty()) {
            words.push_back(std::exchange(word, {}));
        }
    }
    if (!word.empty()) words.push_back(std::move(word));
    return words;
}

bool is_comment(std::string_view line) {
    const auto bare = trim(line);
    return bare.empty() || bare.front() == '#';
}

std::string directory_of(const std::string& path) {
    return path.substr(0, path.rfind('/'));
}

std::string absolute(const std::string& path) {
    return path.starts_with('/') ? path : directory_of(main_file) + "/" + path;
}

/// Whether `name` stands in the text as a word of its own.
bool mentions(std::string_view text, std::string_view name) {
    const auto part_of_name = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '-';
    };
    for (auto at = text.find(name); at != std::string_view::npos; at = text.find(name, at + 1)) {
        const auto end = at + name.size();
        if ((at == 0 || !part_of_name(text[at - 1])) &&
            (end == text.size() || !part_of_name(text[end])))
            return true;
    }
    return false;
}

/// Reads a file and what it sources, as far as there is no loop.
class Reader {
  public:
    explicit Reader(Host& host) : host_(host) {}

    Result<> read(const std::string& path, int depth) {
        constexpr int max_depth = 8;
        if (depth > max_depth) return Error{ErrorCode::wrong_state, path + " sources itself", fix};
        const auto known = [&](const InterfacesFile& file) { return file.path == path; };
        if (std::ranges::any_of(files_, known)) return {};
        NOXSUP_TRY_VALUE(auto image, host_.read(path));
        if (!image) return {};
        files_.push_back({path, *image});
        for (const auto& line : split(image->bytes, '\n')) {
            const auto words = words_of(line);
            if (words.size() < 2) continue;
            for (std::size_t i = 1; i < words.size(); ++i) {
                if (words[0] == "source") NOXSUP_TRY(read_pattern(absolute(words[i]), depth));
                if (words[0] == "source-directory")
                    NOXSUP_TRY(read_directory(absolute(words[i]), depth));
            }
        }
        return {};
    }

    std::vector<InterfacesFile> take() { return std::move(files_); }

  private:
    Result<> read_pattern(const std::string& pattern, int depth) {
        const auto directory = directory_of(pattern);
        constexpr auto special = "*?[]{}$`~\"'\\";
        if (directory.find_first_of(special) != std::string::npos) {
            return Error{ErrorCode::wrong_state,
                         "noxsup does not follow \"source " + pattern + "\" of " + main_file, fix};
        }
        const auto last = pattern.substr(pattern.rfind('/') + 1);
        for (const auto& name : host_.list(directory)) {
            if (::fnmatch(last.c_str(), name.c_str(), FNM_PERIOD) == 0)
                NOXSUP_TRY(read(directory + "/" + name, depth + 1));
        }
        return {};
    }

    Result<> read_directory(const std::string& directory, int depth) {
        constexpr auto allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
        for (const auto& name : host_.list(directory)) {
            if (name.find_first_not_of(allowed) == std::string::npos)
                NOXSUP_TRY(read(directory + "/" + name, depth + 1));
        }
        return {};
    }

    Host& host_;
    std::vector<InterfacesFile> files_;
};

/// Rewrites the files line by line.
class Editor {
  public:
    explicit Editor(const BridgeWish& wish) : wish_(wish) {}

    Result<std::string> edit(const InterfacesFile& file);
    [[nodiscard]] bool found_stanza() const { return stanzas_ > 0; }

  private:
    [[nodiscard]] Error strange(const std::string& line) const {
        return {ErrorCode::wrong_state,
                path_ + ": \"" + escape_for_terminal(trim(line)) +
                    "\" is in a form that noxsup cannot move to a bridge",
                fix};
    }
    Result<> edit_stanza_line(const std::string& line, const std::vector<std::string>& words);
    Result<> edit_auto(const std::string& line, const std::vector<std::string>& words);
    Result<> edit_iface(const std::string& line, const std::vector<std::string>& words);
    Result<> edit_option(const std::string& line, const std::vector<std::string>& words) const;
    void put(const std::string& line) { out_ += line + "\n"; }
    void put_bridge();

    const BridgeWish& wish_;
    std::string path_;
    std::string out_;
    int stanzas_ = 0;         ///< of the card
    bool first_auto_ = true;  ///< no line makes the bridge come up yet
    bool inside_ = false;     ///< one of those
};

Result<std::string> Editor::edit(const InterfacesFile& file) {
    path_ = file.path;
    out_.clear();
    inside_ = false;
    auto lines = split(file.image.bytes, '\n');
    const bool ends_with_newline = !lines.empty() && lines.back().empty();
    if (ends_with_newline) lines.pop_back();
    bool continued = false;
    for (const auto& line : lines) {
        const bool goes_on = line.ends_with('\\') && !is_comment(line);
        if ((goes_on || continued) && (inside_ || mentions(line, wish_.card))) return strange(line);
        if (continued || is_comment(line)) {
            put(line);
        } else {
            NOXSUP_TRY(edit_stanza_line(line, words_of(line)));
        }
        continued = goes_on;
    }
    // Without a change of ours the file stays as it was, to the last byte.
    if (!ends_with_newline && !out_.empty()) out_.pop_back();
    return out_;
}

Result<> Editor::edit_stanza_line(const std::string& line, const std::vector<std::string>& words) {
    const auto& first = words.front();
    if (contains(stanza_words, first) || first.starts_with("allow-")) inside_ = false;
    if (contains(auto_words, first)) return edit_auto(line, words);
    if (first == "iface") return edit_iface(line, words);
    if (inside_) {
        NOXSUP_TRY(edit_option(line, words));
    } else if (!first.starts_with("source") &&
               (mentions(line, wish_.card) || mentions(line, wish_.bridge))) {
        return strange(line);
    }
    put(line);
    return {};
}

Result<> Editor::edit_auto(const std::string& line, const std::vector<std::string>& words) {
    if (std::ranges::find(words, wish_.bridge) != words.end()) return strange(line);
    if (std::ranges::find(words, wish_.card) == words.end()) {
        put(line);
        return {};
    }
    std::string others;
    for (const auto& word : words) {
        if (word != wish_.card) others += (others.empty() ? "" : " ") + word;
    }
    if (words.size() > 2) put(others);
    // A bridge does not come by hotplug: it is made when the host starts.
    if (first_auto_) put("auto " + wish_.bridge);
    first_auto_ = false;
    return {};
}

Result<> Editor::edit_iface(const std::string& line, const std::vector<std::string>& words) {
    if (words.size() < 2) return strange(line);
    const auto& name = words[1];
    if (name == wish_.bridge || name.starts_with(wish_.card + ":") ||
        name.starts_with(wish_.card + "."))
        return strange(line);
    if (name != wish_.card) {
        // "inherits CARD" and the like.
        if (mentions(line, wish_.card)) return strange(line);
        put(line);
        return {};
    }
    constexpr std::size_t plain = 4;
    if (words.size() != plain || (words[2] != "inet" && words[2] != "inet6") ||
        !contains(methods, words[3]))
        return strange(line);
    if (stanzas_ == 0) put("iface " + wish_.card + " inet manual\n");
    put("iface " + wish_.bridge + " " + words[2] + " " + words[3]);
    if (stanzas_ == 0) put_bridge();
    ++stanzas_;
    inside_ = true;
    return {};
}

Result<> Editor::edit_option(const std::string& line, const std::vector<std::string>& words) const {
    if (!contains(options, words.front()) || mentions(line, wish_.card)) return strange(line);
    return {};
}

/// The card may come late, as those on USB do; the bridge waits for it as bridge-utils would.
void Editor::put_bridge() {
    const auto& card = wish_.card;
    const auto& bridge = wish_.bridge;
    put("    # The bridge that noxsup network setup made of " + card);
    put("    pre-up for i in $(seq 30); do test -e /sys/class/net/" + card +
        " && break; sleep 1; done");
    put("    pre-up test -e /sys/class/net/" + bridge + " || ip link add name " + bridge +
        " address " + wish_.mac.to_string() + " type bridge stp_state 0 forward_delay 0");
    put("    pre-up ip link set dev " + card + " master " + bridge);
    put("    pre-up ip link set dev " + card + " up");
    put("    post-down test ! -e /sys/class/net/" + bridge + " || ip link delete dev " + bridge);
}

}  // namespace

Result<IfupdownFacts> read_ifupdown(Host& host, const std::string& card) {
    IfupdownFacts facts;
    const auto told = host.run({"ifquery", "--state", card});
    facts.up = told && trim(*told) == card + "=" + card;
    if (!facts.up) return facts;
    Reader reader(host);
    NOXSUP_TRY(reader.read(main_file, 0));
    facts.files = reader.take();
    return facts;
}

Result<Plan> plan_ifupdown(const BridgeWish& wish, const IfupdownFacts& facts) {
    Plan plan;
    plan.manager = Manager::ifupdown;
    plan.card = wish.card;
    plan.bridge = wish.bridge;
    Editor editor(wish);
    for (const auto& file : facts.files) {
        NOXSUP_TRY_VALUE(auto text, editor.edit(file));
        if (text == file.image.bytes) continue;
        auto after = file.image;
        after.bytes = std::move(text);
        plan.files.push_back({file.path, file.image, std::move(after)});
    }
    if (!editor.found_stanza()) {
        return Error{ErrorCode::wrong_state,
                     std::string(main_file) + " has no stanza \"iface " + wish.card +
                         "\", though ifup has brought it up",
                     "write the stanza for " + wish.card + " itself, not a pattern"};
    }
    plan.before = {{{"ifdown", wish.card}, false}};
    plan.after = {{{"ifup", wish.bridge}, false}};
    plan.undo_before = {{{"ifdown", "--force", wish.bridge}, true}};
    plan.undo_after = {{{"ip", "link", "delete", "dev", wish.bridge}, true},
                       {{"ifdown", "--force", wish.card}, true},
                       {{"ifup", wish.card}, false}};
    return plan;
}

}  // namespace noxsup::netbridge::setup
