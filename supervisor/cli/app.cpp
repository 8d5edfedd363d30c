#include "supervisor/cli/app.hpp"

#include <csignal>
#include <string>
#include <variant>
#include <vector>

#include "supervisor/cli/output.hpp"
#include "supervisor/cli/parse.hpp"
#include "supervisor/cli/verbs.hpp"

namespace noxsup::cli {
namespace {

/// `ssh` and `exec` pass the guest's exit codes on; 255 is for every failure of ours, as in ssh.
constexpr int ssh_failure = 255;

bool passes_exit_code(const Verb& verb) {
    return std::holds_alternative<SshOptions>(verb) || std::holds_alternative<ExecOptions>(verb);
}

bool meant_ssh(const std::vector<std::string>& words) {
    for (const auto& word : words) {
        if (word == "ssh" || word == "shell" || word == "exec") return true;
        if (!word.starts_with("-")) return false;
    }
    return false;
}

}  // namespace

int run(int argc, const char* const* argv) {
    // A reader that goes away is told by write(2).
    ::signal(SIGPIPE, SIG_IGN);
    std::vector<std::string> words(argv + 1, argv + argc);
    const bool json = asks_for_json(words);
    auto invocation = parse(words);
    if (!invocation) {
        GlobalOptions options;
        if (json) options.format = Format::json;
        print_error(invocation.error(), options);
        return meant_ssh(words) ? ssh_failure : exit_code_of(invocation.error().code);
    }
    Session session(invocation->global);
    const auto act = [&session](const auto& options) { return run_verb(session, options); };
    const auto outcome = std::visit(act, invocation->verb);
    if (outcome) return *outcome;
    session.display().clear_line();
    print_error(outcome.error(), session.options());
    if (passes_exit_code(invocation->verb)) return ssh_failure;
    return exit_code_of(outcome.error().code);
}

}  // namespace noxsup::cli
