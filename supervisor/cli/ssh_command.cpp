#include "supervisor/cli/ssh_command.hpp"

#include <unistd.h>

#include <algorithm>

#include "supervisor/base/text.hpp"

namespace noxsup::cli {
namespace {

/// "TYPE BASE64", which is the same words whoever splits and expands them.
bool is_host_key(std::string_view text) {
    const auto is_plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("-+/= @.").find(c) != std::string_view::npos;
    };
    return !text.empty() && std::ranges::all_of(text, is_plain);
}

}  // namespace

Result<SshTarget> ssh_target_from_json(const std::string& name, const Json& json) {
    SshTarget target;
    target.name = name;
    NOXSUP_TRY_VALUE(target.user, json_member<std::string>(json, "user"));
    NOXSUP_TRY_VALUE(target.host, json_member<std::string>(json, "host"));
    NOXSUP_TRY_VALUE(target.port, json_member<int>(json, "port"));
    NOXSUP_TRY_VALUE(target.host_key_alias, json_member<std::string>(json, "host_key_alias"));
    NOXSUP_TRY_VALUE(target.identity, json_member<std::string>(json, "identity_path"));
    NOXSUP_TRY_VALUE(target.known_hosts, json_member<std::string>(json, "known_hosts_path"));
    NOXSUP_TRY_VALUE(target.host_key, json_member_or<std::string>(json, "host_key", ""));
    // The system scope's files are root's; its users come with keys of their own.
    if (::access(target.identity.c_str(), R_OK) != 0) target.identity.clear();
    if (is_host_key(target.host_key) && ::access(target.known_hosts.c_str(), R_OK) != 0)
        target.known_hosts.clear();
    return target;
}

SshSettings ssh_settings(const SshTarget& target) {
    SshSettings settings = {{"HostName", target.host},
                            {"Port", std::to_string(target.port)},
                            {"User", target.user},
                            {"HostKeyAlias", target.host_key_alias},
                            {"GlobalKnownHostsFile", "/dev/null"},
                            {"StrictHostKeyChecking", "yes"},
                            {"CheckHostIP", "no"},
                            {"UpdateHostKeys", "no"}};
    if (!target.known_hosts.empty()) {
        settings.emplace_back("UserKnownHostsFile", ssh_config_quoted(target.known_hosts));
    } else {
        settings.emplace_back("UserKnownHostsFile", "none");
        settings.emplace_back("KnownHostsCommand",
                              "/bin/echo " + target.host_key_alias + " " + target.host_key);
    }
    if (!target.identity.empty()) {
        settings.emplace_back("IdentityFile", ssh_config_quoted(target.identity));
        settings.emplace_back("IdentitiesOnly", "yes");
    }
    return settings;
}

std::string ssh_config_block(const SshTarget& target) {
    std::string block = "Host " + target.name + "\n";
    for (const auto& [key, value] : ssh_settings(target)) block += "  " + key + " " + value + "\n";
    return block;
}

std::vector<std::string> ssh_argv(const SshTarget& target, bool batch, bool tty) {
    // -F none: neither ~/.ssh/config nor the system's, whose ProxyJump, ControlMaster or
    // RemoteCommand were meant for other hosts.
    std::vector<std::string> argv = {"ssh", "-F", "none"};
    for (const auto& [key, value] : ssh_settings(target)) {
        argv.emplace_back("-o");
        argv.push_back(key + "=" + value);
    }
    const auto add = [&argv](const char* setting) {
        argv.emplace_back("-o");
        argv.emplace_back(setting);
    };
    add("ConnectTimeout=15");
    add("LogLevel=ERROR");
    if (batch) add("BatchMode=yes");
    if (tty) argv.emplace_back("-t");
    argv.emplace_back("--");
    argv.push_back(target.name);
    return argv;
}

}  // namespace noxsup::cli
