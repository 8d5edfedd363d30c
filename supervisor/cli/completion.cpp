#include <unistd.h>

#include <algorithm>
#include <array>

#include "supervisor/base/text.hpp"
#include "supervisor/cli/completion_script.hpp"
#include "supervisor/cli/parse.hpp"
#include "supervisor/cli/terminal.hpp"
#include "supervisor/cli/verbs.hpp"

namespace noxsup::cli {
namespace {

/// Options whose value is a file or a directory.
constexpr std::array<std::string_view, 4> file_options = {"--home", "--image", "--ssh-key",
                                                          "--cloud-init"};
/// Verbs whose words are names of VMs.
constexpr std::array<std::string_view, 27> vm_verbs = {"autostart",
                                                       "start",
                                                       "stop",
                                                       "restart",
                                                       "reset",
                                                       "pause",
                                                       "resume",
                                                       "suspend",
                                                       "rename",
                                                       "set",
                                                       "delete",
                                                       "status",
                                                       "wait",
                                                       "events",
                                                       "ssh",
                                                       "ssh-config",
                                                       "exec",
                                                       "console",
                                                       "logs",
                                                       "ip",
                                                       "network attach",
                                                       "network detach",
                                                       "clone",
                                                       "snapshot create",
                                                       "snapshot ls",
                                                       "snapshot restore",
                                                       "snapshot rm"};

/// Verbs whose words are names of images.
constexpr std::array<std::string_view, 2> image_verbs = {"image rm", "image verify"};

/// A verb with verbs of its own, and its other name.
struct Parent {
    std::string_view name;
    std::string_view alias;

    [[nodiscard]] std::string words() const {
        return std::string(name) + (alias.empty() ? "" : " " + std::string(alias));
    }
};
constexpr std::array<Parent, 4> parents = {Parent{"image", "images"}, Parent{"network", ""},
                                           Parent{"snapshot", "snapshots"},
                                           Parent{"template", "templates"}};

constexpr std::string_view vm_names = "$(noxsup -q list 2>/dev/null)";
constexpr std::string_view image_names = "$(noxsup -q image ls 2>/dev/null)";

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& list, std::string_view word) {
    return std::ranges::find(list, word) != list.end();
}

const Parent* find_parent(std::string_view verb) {
    const auto* const found = std::ranges::find(parents, verb, &Parent::name);
    return found == parents.end() ? nullptr : found;
}

/// The shell's cases that put a verb and its own verb together in $verb (bash and zsh).
std::string verb_cases() {
    std::string cases;
    std::string patterns;
    for (const auto& parent : parents) {
        const std::string name(parent.name);
        cases += "      " + name + (parent.alias.empty() ? "" : " | " + std::string(parent.alias)) +
                 ") verb=" + name + " ;;\n";
        patterns += (patterns.empty() ? "" : " | ") + name;
    }
    return cases + "      *) case $verb in " + patterns +
           ") verb=\"$verb $word\" ;; *) verb=$word ;; esac; break ;;\n";
}

std::vector<std::string> all_names(const GrammarVerb& verb) {
    std::vector<std::string> names;
    const auto space = verb.name.rfind(' ');
    const auto prefix = space == std::string::npos ? "" : verb.name.substr(0, space + 1);
    names.push_back(verb.name);
    for (const auto& alias : verb.aliases) names.push_back(prefix + alias);
    return names;
}

std::string option_words(const GrammarVerb& verb) {
    std::vector<std::string> words;
    for (const auto& option : verb.options) {
        words.insert(words.end(), option.names.begin(), option.names.end());
    }
    return join(words, " ");
}

/// The words that may stand where the first (or, after `image`, the second) verb stands.
std::string verb_words(const std::vector<GrammarVerb>& verbs, std::string_view prefix) {
    std::vector<std::string> words;
    for (const auto& verb : verbs) {
        for (const auto& name : all_names(verb)) {
            if (name.empty() || !name.starts_with(prefix)) continue;
            const auto word = name.substr(prefix.size());
            if (word.find(' ') == std::string::npos) words.push_back(word);
        }
    }
    return join(words, " ");
}

std::string escaped(std::string text, char quote) {
    std::string out;
    for (const char c : text) {
        if (c == quote) out += quote == '\'' ? "'\\'" : "\\";
        out += c;
    }
    return out;
}

/// The shell's case pattern of each verb and what can be completed behind it.
std::string bash_words_of(const GrammarVerb& verb, const std::vector<GrammarVerb>& verbs) {
    auto words = option_words(verb) + " " + option_words(verbs.front());
    if (contains(vm_verbs, verb.name)) words += " " + std::string(vm_names);
    if (contains(image_verbs, verb.name)) words += " " + std::string(image_names);
    if (find_parent(verb.name) != nullptr) words += " " + verb_words(verbs, verb.name + " ");
    if (verb.name == "autostart") words += " on off last";
    if (verb.name == "completion") words += " bash zsh fish";
    if (verb.name == "help") words += " " + verb_words(verbs, "");
    return words;
}

std::string bash_script(const std::vector<GrammarVerb>& verbs) {
    std::string out =
        "# bash completion for noxsup, made by `noxsup completion bash`\n"
        "_noxsup() {\n"
        "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
        "  local verb='' word words\n"
        "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
        "    case $word in\n"
        "      -*) ;;\n" +
        verb_cases() +
        "    esac\n"
        "  done\n"
        "  case $previous in\n";
    std::vector<std::string> seen;
    for (const auto& verb : verbs) {
        for (const auto& option : verb.options) {
            if (!option.takes_value || option.names.empty()) continue;
            const auto& name = option.names.back();
            if (std::ranges::find(seen, name) != seen.end()) continue;
            seen.push_back(name);
            const auto pattern = join(option.names, " | ");
            if (contains(file_options, name)) {
                out +=
                    "    " + pattern + ") COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n";
            } else {
                out += "    " + pattern + ") COMPREPLY=($(compgen -W '" +
                       join(option.choices, " ") + "' -- \"$current\")); return ;;\n";
            }
        }
    }
    out += "  esac\n  case $verb in\n    '') words=\"" + verb_words(verbs, "") + " " +
           option_words(verbs.front()) + "\" ;;\n";
    for (const auto& verb : verbs) {
        if (verb.name.empty()) continue;
        std::vector<std::string> patterns;
        for (const auto& name : all_names(verb)) {
            patterns.push_back(name.find(' ') == std::string::npos ? name : "'" + name + "'");
        }
        out +=
            "    " + join(patterns, " | ") + ") words=\"" + bash_words_of(verb, verbs) + "\" ;;\n";
    }
    out +=
        "  esac\n"
        "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
        "  case $verb in\n"
        "    cp | transfer)\n"
        "      COMPREPLY+=($(compgen -S : -W \"" +
        std::string(vm_names) +
        "\" -- \"$current\") $(compgen -f -- \"$current\")) ;;\n"
        "    'image import') COMPREPLY+=($(compgen -f -- \"$current\")) ;;\n"
        "  esac\n"
        "}\n"
        "complete -o bashdefault -F _noxsup noxsup\n";
    return out;
}

std::string zsh_option(const GrammarOption& option) {
    std::string text;
    for (const auto& name : option.names) {
        auto description = escaped(option.description, '\'');
        std::erase_if(description, [](char c) { return c == '[' || c == ']' || c == ':'; });
        text += " '" + name + "[" + description + "]";
        if (option.takes_value) {
            text += contains(file_options, option.names.back())
                        ? ":file:_files"
                        : ":value:(" + join(option.choices, " ") + ")";
        }
        text += "'";
    }
    return text;
}

std::string zsh_script(const std::vector<GrammarVerb>& verbs) {
    std::string out =
        "#compdef noxsup\n"
        "# zsh completion for noxsup, made by `noxsup completion zsh`\n"
        "_noxsup() {\n"
        "  local verb='' word\n"
        "  for word in \"${(@)words[2,CURRENT-1]}\"; do\n"
        "    case $word in\n"
        "      -*) ;;\n" +
        verb_cases() +
        "    esac\n"
        "  done\n"
        "  local -a options vms\n"
        "  options=(";
    for (const auto& option : verbs.front().options) out += zsh_option(option);
    out += ")\n  case $verb in\n    '') _arguments $options '*:command:(" + verb_words(verbs, "") +
           ")' ;;\n";
    for (const auto& verb : verbs) {
        if (verb.name.empty()) continue;
        std::vector<std::string> patterns;
        for (const auto& name : all_names(verb)) patterns.push_back("'" + name + "'");
        out += "    " + join(patterns, " | ") + ") ";
        std::string words = "'*:file:_files'";
        if (contains(vm_verbs, verb.name)) {
            out += "vms=(${(f)\"" + std::string(vm_names) + "\"}); ";
            words = verb.name == "autostart" ? "\"*:vm:($vms on off last)\"" : "\"*:vm:($vms)\"";
        }
        if (contains(image_verbs, verb.name)) {
            out += "vms=(${(f)\"" + std::string(image_names) + "\"}); ";
            words = "\"*:image:($vms)\"";
        }
        if (find_parent(verb.name) != nullptr)
            words = "'*:command:(" + verb_words(verbs, verb.name + " ") + ")'";
        if (verb.name == "completion") words = "'*:shell:(bash zsh fish)'";
        if (verb.name == "help") words = "'*:command:(" + verb_words(verbs, "") + ")'";
        out += "_arguments $options";
        for (const auto& option : verb.options) out += zsh_option(option);
        out += " " + words + " ;;\n";
    }
    return out + "  esac\n}\n_noxsup \"$@\"\n";
}

std::string fish_option(const GrammarOption& option, const std::string& condition) {
    std::string line = "complete -c noxsup" + condition;
    for (const auto& name : option.names) {
        line += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    }
    if (option.takes_value) {
        line += contains(file_options, option.names.back()) ? " -r -F" : " -x";
    }
    if (!option.choices.empty()) line += " -a '" + join(option.choices, " ") + "'";
    return line + " -d '" + escaped(option.description, '\'') + "'\n";
}

std::string fish_script(const std::vector<GrammarVerb>& verbs) {
    std::string out =
        "# fish completion for noxsup, made by `noxsup completion fish`\n"
        "complete -c noxsup -f\n";
    for (const auto& option : verbs.front().options) out += fish_option(option, "");
    const auto all = verb_words(verbs, "");
    for (const auto& verb : verbs) {
        if (verb.name.empty()) continue;
        const auto space = verb.name.find(' ');
        const auto* parent =
            space == std::string::npos ? nullptr : find_parent(verb.name.substr(0, space));
        std::vector<std::string> own;
        for (const auto& name : all_names(verb)) own.push_back(name.substr(name.rfind(' ') + 1));
        std::string here = "not __fish_seen_subcommand_from " + all;
        std::string inside = "__fish_seen_subcommand_from " + join(own, " ");
        if (parent != nullptr) {
            const auto below = "__fish_seen_subcommand_from " + parent->words() + "; and ";
            here = below + "not __fish_seen_subcommand_from " +
                   verb_words(verbs, std::string(parent->name) + " ");
            inside = below + inside;
        }
        inside = " -n '" + inside + "'";
        out += "complete -c noxsup -n '" + here + "' -a '" + join(own, " ") + "' -d '" +
               escaped(verb.description, '\'') + "'\n";
        for (const auto& option : verb.options) out += fish_option(option, inside);
        if (contains(vm_verbs, verb.name)) {
            out += "complete -c noxsup" + inside + " -a '(noxsup -q list 2>/dev/null)'\n";
        }
        if (contains(image_verbs, verb.name)) {
            out += "complete -c noxsup" + inside + " -a '(noxsup -q image ls 2>/dev/null)'\n";
        }
        if (verb.name == "cp" || verb.name == "image import") {
            out += "complete -c noxsup" + inside + " -F\n";
        }
        if (verb.name == "autostart") {
            out += "complete -c noxsup" + inside + " -a 'on off last'\n";
        }
        if (verb.name == "completion") {
            out += "complete -c noxsup" + inside + " -a 'bash zsh fish'\n";
        }
    }
    return out;
}

}  // namespace

std::string completion_script(std::string_view shell) {
    const auto verbs = grammar();
    if (shell == "zsh") return zsh_script(verbs);
    if (shell == "fish") return fish_script(verbs);
    return bash_script(verbs);
}

Result<int> run_verb(Session& /*session*/, const CompletionOptions& options) {
    write_text(STDOUT_FILENO, completion_script(options.shell));
    return 0;
}

}  // namespace noxsup::cli
