#include "supervisor/cli/parse.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "supervisor/cli/grammar.hpp"

namespace noxsup::cli {
namespace {

using Words = std::vector<std::string>;

/// Options with a value that may stand before the name of an ssh target.
constexpr std::array<std::string_view, 5> options_with_value = {"--home", "--format", "--progress",
                                                                "--user", "-l"};

bool is_option(std::string_view word) {
    return word.size() > 1 && word.front() == '-';
}

/// The index of the next word that is no option (nor the value of one), from `from` on.
std::size_t next_plain(const Words& words, std::size_t from) {
    for (auto i = from; i < words.size(); ++i) {
        if (std::ranges::find(options_with_value, words[i]) != options_with_value.end()) {
            ++i;
        } else if (!is_option(words[i])) {
            return i;
        }
    }
    return words.size();
}

/// Everything after the VM's name is the remote command, as with plain ssh; it is cut off here,
/// for it is not our business to parse it.
Words cut_remote_command(Words& words) {
    const auto verb = next_plain(words, 0);
    if (verb == words.size()) return {};
    const auto& name = words[verb];
    if (name != "ssh" && name != "shell" && name != "exec") return {};
    const auto target = next_plain(words, verb + 1);
    if (target >= words.size()) return {};
    const auto rest = words.begin() + static_cast<std::ptrdiff_t>(target) + 1;
    Words command(rest, words.end());
    words.erase(rest, words.end());
    // Only global options may have followed the name, and the verb's usual `--` ends them.
    const auto dashes = std::ranges::find(command, "--");
    if (dashes != command.end()) {
        const bool only_options = next_plain({command.begin(), dashes}, 0) ==
                                  static_cast<std::size_t>(dashes - command.begin());
        if (only_options) {
            words.insert(words.end(), command.begin(), dashes);
            command.erase(command.begin(), dashes + 1);
        }
    } else if (command.size() == 1 && (command[0] == "--help" || command[0] == "-h")) {
        words.push_back(std::exchange(command, {}).front());
    }
    return command;
}

Error usage_error(const CLI::App& app, const std::string& problem) {
    const auto* verb = &app;
    std::string name = "noxsup";
    while (!verb->get_subcommands().empty()) {
        verb = verb->get_subcommands().front();
        name += " " + verb->get_name();
    }
    return {ErrorCode::invalid_argument, problem, "see: " + name + " --help"};
}

std::string option_names(const CLI::Option& option, GrammarOption& described) {
    for (const auto& name : option.get_snames()) described.names.push_back("-" + name);
    for (const auto& name : option.get_lnames()) described.names.push_back("--" + name);
    return option.get_description();
}

/// The choices of a CheckedTransformer or IsMember stand in its description as {a,b,c}.
Words choices_of(const std::string& type_name) {
    Words choices;
    const auto open = type_name.find('{');
    const auto close = type_name.find('}');
    if (open == std::string::npos || close == std::string::npos) return choices;
    for (const auto& word : CLI::detail::split(type_name.substr(open + 1, close - open - 1), ',')) {
        const auto arrow = word.find("->");
        choices.push_back(word.substr(0, arrow));
    }
    return choices;
}

GrammarVerb describe(const CLI::App& app, const std::string& name) {
    GrammarVerb verb;
    verb.name = name;
    verb.aliases = app.get_aliases();
    verb.description = app.get_description();
    for (const auto* option : app.get_options()) {
        if (option->get_positional()) continue;
        GrammarOption described;
        described.description = option_names(*option, described);
        described.takes_value = option->get_items_expected_max() > 0;
        if (option->get_group().empty()) continue;
        described.choices = choices_of(option->get_type_name());
        verb.options.push_back(std::move(described));
    }
    return verb;
}

void describe_all(const CLI::App& app, const std::string& prefix, std::vector<GrammarVerb>& verbs) {
    for (const auto* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
        // Those without a group are for programs.
        if (sub->get_group().empty()) continue;
        const auto name = prefix + sub->get_name();
        verbs.push_back(describe(*sub, name));
        describe_all(*sub, name + " ", verbs);
    }
}

}  // namespace

Result<Invocation> parse(Words words) {
    Invocation invocation;
    CLI::App app;
    declare_grammar(app, invocation);
    if (words.empty()) {
        invocation.verb = HelpOptions{app.help()};
        return invocation;
    }
    auto command = cut_remote_command(words);
    try {
        std::ranges::reverse(words);  // CLI11 takes them from the back
        app.parse(std::move(words));
    } catch (const CLI::CallForHelp&) {
        const auto* verb = &app;
        while (!verb->get_subcommands().empty()) verb = verb->get_subcommands().front();
        invocation.verb = HelpOptions{verb->help()};
        return invocation;
    } catch (const CLI::CallForVersion&) {
        invocation.verb = VersionOptions();
        return invocation;
    } catch (const CLI::Error& e) {
        return usage_error(app, e.what());
    } catch (const Error& e) {
        return e;
    }
    if (auto* ssh = std::get_if<SshOptions>(&invocation.verb)) {
        ssh->command = std::move(command);
    } else if (auto* exec = std::get_if<ExecOptions>(&invocation.verb)) {
        if (command.empty()) return usage_error(app, "exec needs a command: exec NAME -- CMD...");
        exec->command = std::move(command);
    }
    return invocation;
}

bool asks_for_json(const Words& words) {
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (words[i] == "--") return false;
        if (words[i] == "--format=json") return true;
        if (words[i] == "--format" && i + 1 < words.size() && words[i + 1] == "json") return true;
    }
    return false;
}

std::vector<GrammarVerb> grammar() {
    Invocation invocation;
    CLI::App app;
    declare_grammar(app, invocation);
    std::vector<GrammarVerb> verbs{describe(app, "")};
    describe_all(app, "", verbs);
    return verbs;
}

}  // namespace noxsup::cli
