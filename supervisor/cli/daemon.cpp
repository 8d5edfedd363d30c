#include "supervisor/daemon/daemon.hpp"

#include "supervisor/base/text.hpp"
#include "supervisor/cli/home_choice.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_calls.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/daemon_launcher.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {
namespace {

Result<int> stop_daemon(Session& session) {
    session.never_start();
    NOXSUP_TRY(session.call(control::method::daemon_stop));
    session.note("the supervisor ends; its VMs go on");
    return 0;
}

/// One line a VM; errors of single ones are printed, the exit code is that of the first.
Result<int> stop_guests(Session& session, const DaemonVerbOptions& options) {
    NOXSUP_TRY_VALUE(auto params, timeout_params(options.timeout));
    // One that has to be started finds the VMs of one that died, but starts none.
    session.start_with({"--no-autostart"});
    NOXSUP_TRY_VALUE(const auto reply,
                     session.call(control::method::host_stop_guests, std::move(params)));
    NOXSUP_TRY_VALUE(const auto vms, json_member<Json>(reply.result, "vms"));
    int exit = 0;
    Document document;
    document.table = Table{{"NAME", "HOW"}, {}};
    for (const auto& vm : vms) {
        const auto name = text_at(vm, "name");
        document.names.push_back(name);
        if (const auto* failure = detail::find_member(vm, "error")) {
            const auto code = error_code_from_name(text_at(*failure, "code"));
            const Error error(code, text_at(*failure, "message"), text_at(*failure, "hint"));
            print_error(error, session.options(), name);
            if (exit == 0) exit = exit_code_of(code);
            continue;
        }
        const auto how = text_at(vm, "how");
        document.table.rows.push_back({name, how});
        document.text += escape_for_terminal(name + " is stopped (" + how_text(how) + ")") + "\n";
    }
    if (vms.empty()) document.text = "no VM was running\n";
    // With nothing done the errors say it all.
    if (document.text.empty()) return exit;
    document.json = {{"vms", vms}};
    session.print(document);
    return exit;
}

Result<int> serve(Session& session, const DaemonVerbOptions& options) {
    daemon::DaemonOptions daemon;
    daemon.system_scope = options.system;
    daemon.ready_fd = options.ready_fd;
    daemon.autostart = !options.no_autostart;
    if (session.options().verbose) daemon.log_level = LogLevel::debug;
    if (options.system && session.options().home.empty()) {
        daemon.home = state::system_home;
    } else {
        // The system's supervisor may run beside ours; it is not what is asked for here.
        auto global = session.options();
        global.user_scope = true;
        const auto home = choose_home(global);
        if (!home) {
            control::report_failure(options.ready_fd, home.error());
            return home.error();
        }
        daemon.home = home->root();
    }
    return daemon::run(daemon);
}

}  // namespace

Result<int> run_verb(Session& session, const DaemonVerbOptions& options) {
    if (!options.stop && !options.stop_guests) return serve(session, options);
    if (options.system) session.use_system_scope();
    return options.stop ? stop_daemon(session) : stop_guests(session, options);
}

}  // namespace noxsup::cli
