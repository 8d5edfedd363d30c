#include <unistd.h>

#include "supervisor/base/text.hpp"
#include "supervisor/cli/programs.hpp"
#include "supervisor/cli/ssh_command.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {
namespace {

Result<SshTarget> target_of(Session& session, const std::string& name, const std::string& user) {
    NOXSUP_TRY_VALUE(const auto reply, session.call(control::method::vm_ssh, {{"name", name}}));
    NOXSUP_TRY_VALUE(auto target, ssh_target_from_json(name, reply.result));
    if (!user.empty()) target.user = user;
    return target;
}

bool has_terminal() {
    return ::isatty(STDIN_FILENO) == 1;
}

}  // namespace

Result<int> run_verb(Session& session, const SshOptions& options) {
    NOXSUP_TRY_VALUE(const auto target, target_of(session, options.name, options.user));
    auto argv = ssh_argv(target, !has_terminal(), false);
    // Several words are joined by ssh itself, as everyone is used to.
    argv.insert(argv.end(), options.command.begin(), options.command.end());
    return become(argv);
}

Result<int> run_verb(Session& session, const ExecOptions& options) {
    NOXSUP_TRY_VALUE(const auto target, target_of(session, options.name, options.user));
    const bool tty = has_terminal() && ::isatty(STDOUT_FILENO) == 1;
    auto argv = ssh_argv(target, !has_terminal(), tty);
    std::vector<std::string> words;
    for (const auto& word : options.command) words.push_back(shell_quoted(word));
    argv.push_back(join(words, " "));
    return become(argv);
}

Result<int> run_verb(Session& session, const SshConfigOptions& options) {
    Names vms{options.names, options.names.empty()};
    NOXSUP_TRY_VALUE(const auto names, session.names_of(vms, {"running"}));
    NOXSUP_TRY_VALUE(auto replies,
                     session.call_each(control::method::vm_ssh, names, Json::object()));
    Document document;
    auto hosts = Json::array();
    document.table.headings = {"NAME", "USER", "HOST", "PORT", "IDENTITY FILE", "KNOWN HOSTS FILE"};
    for (auto& [name, reply] : replies) {
        if (!reply) {
            // Of all that run, one may have no address yet; one that was named must have.
            if (options.names.empty()) continue;
            return std::move(reply).error();
        }
        NOXSUP_TRY_VALUE(const auto target, ssh_target_from_json(name, reply->result));
        auto host = reply->result;
        host["name"] = name;
        hosts.push_back(std::move(host));
        document.text += ssh_config_block(target);
        document.table.rows.push_back({name, target.user, target.host, std::to_string(target.port),
                                       target.identity, target.known_hosts});
        document.names.push_back(name);
    }
    document.json = {{"hosts", std::move(hosts)}};
    if (document.text.empty()) document.text = "# no VM runs\n";
    return session.print(document);
}

}  // namespace noxsup::cli
