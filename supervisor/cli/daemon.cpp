#include "supervisor/daemon/daemon.hpp"

#include "supervisor/cli/home_choice.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/control/daemon_launcher.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {

Result<int> run_verb(Session& session, const DaemonVerbOptions& options) {
    if (options.stop) {
        session.never_start();
        NOXSUP_TRY(session.call(control::method::daemon_stop));
        session.note("the supervisor ends; its VMs go on");
        return 0;
    }
    daemon::DaemonOptions daemon;
    daemon.system_scope = options.system;
    daemon.ready_fd = options.ready_fd;
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

}  // namespace noxsup::cli
