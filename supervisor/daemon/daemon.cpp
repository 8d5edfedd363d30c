#include "supervisor/daemon/daemon.hpp"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio.hpp>
#include <cstdio>
#include <cstdlib>

#include "netbridge/macvtap_lease.hpp"
#include "netbridge/setup/journal.hpp"
#include "netbridge/tap_lease.hpp"
#include "supervisor/base/async.hpp"
#include "supervisor/base/unix_socket.hpp"
#include "supervisor/control/daemon_launcher.hpp"
#include "supervisor/control/methods.hpp"
#include "supervisor/control/server.hpp"
#include "supervisor/daemon/clone.hpp"
#include "supervisor/daemon/events_api.hpp"
#include "supervisor/daemon/images_ahead.hpp"
#include "supervisor/daemon/network_recovery.hpp"
#include "supervisor/daemon/self_update.hpp"
#include "supervisor/daemon/service_manager.hpp"
#include "supervisor/daemon/services.hpp"
#include "supervisor/daemon/template_making.hpp"
#include "supervisor/vm/bounded_log.hpp"

namespace noxsup::daemon {
namespace {

namespace asio = boost::asio;

constexpr std::chrono::minutes heartbeat{1};

/// The system's scope is for root and for the group that this process has (the unit's Group=).
bool may_use_system(const PeerCredentials& peer) {
    const auto group = ::getegid();
    return control::root_or_myself(peer) || peer.gid == group ||
           std::ranges::find(peer.groups, group) != peer.groups.end();
}

/// @pre `registry` outlives the server
control::ServerOptions server_options(const state::Home& home, const Registry& registry) {
    control::ServerOptions options;
    options.version = NOXSUP_VERSION;
    options.home = home.root();
    options.scope = home.scope() == state::Scope::system ? "system" : "user";
    const auto allowed =
        home.scope() == state::Scope::system ? may_use_system : control::root_or_myself;
    // A guest that has taken its QEMU over acts as that process; in user scope its uid is ours.
    options.allow = [allowed, &registry](const PeerCredentials& peer) {
        return allowed(peer) && !registry.has_qemu(peer.pid);
    };
    return options;
}

/// Binds the control socket. @pre the daemon lock is held, so an old name is a dead supervisor's
Result<UniqueFd> bind_socket(const state::Home& home) {
    ::unlink(home.control_socket().c_str());
    return listen_unix(home.control_socket(), home.scope() == state::Scope::system ? 0660 : 0600);
}

/// A firewall that is loaded anew takes the rules of VMs' ports with it.
void restore_ports(Services& services) {
    const auto& vms = services.registry.all();
    if (std::ranges::none_of(vms, [](const auto& vm) { return vm->has_port(); })) return;
    const auto tables = services.kernel->rule_tables();
    if (!tables) return;
    for (const auto& vm : vms) vm->restore_ports(*tables);
}

void trim_nat_log(const Services& services) {
    const auto trimmed = vm::bound_log(services.home.nat() / "dnsmasq.log");
    if (!trimmed) log_warning(trimmed.error().message);
}

/// Once a minute, all that is due: a sign of life, logs kept within bounds, a QEMU that hangs and a
/// replaced program noticed while nobody asks for anything.
asio::awaitable<void> beat(Services& services, control::Server& server, const SelfUpdate& self,
                           bool& replaced) {
    const auto manager = ServiceManager::from_environment();
    for (;;) {
        const bool slept = co_await sleep_for(heartbeat);
        if (!slept) co_return;
        manager.alive();
        for (const auto& vm : services.registry.all()) {
            if (!vm->is_active()) continue;
            vm->trim_logs();
            vm->ask_agent();
        }
        restore_ports(services);
        co_await services.nat.check();
        trim_nat_log(services);
        co_await services.registry.refresh_all();
        if (server.running_calls() == 0 && self.is_replaced()) {
            log_info("the program was replaced; going on as the new one");
            replaced = true;
            server.stop();
            co_return;
        }
    }
}

asio::awaitable<void> stop_on_signal(asio::signal_set& signals, control::Server& server) {
    const auto [failure, number] = co_await signals.async_wait(asio::as_tuple(asio::use_awaitable));
    if (failure) co_return;
    log_info(std::string("signal ") + std::to_string(number) +
             ": the supervisor ends, the VMs go on");
    server.stop();
}

/// Finds what runs, then starts what is to run.
asio::awaitable<void> take_over(Services& services, bool autostart) {
    co_await services.registry.adopt_all();
    auto sweeping = sweep_template_vms(services);
    co_await std::move(sweeping);
    co_await services.nat.begin();
    restore_ports(services);
    // Without the right to change them there are none of ours.
    if (const auto swept = netbridge::sweep_filters(*services.kernel); swept && *swept > 0)
        log_info("removed the rules of " + std::to_string(*swept) + " TAPs that are gone");
    if (const auto swept = netbridge::sweep_macvtaps(*services.kernel); swept && *swept > 0)
        log_info("removed " + std::to_string(*swept) + " macvtaps that nobody holds");
    co_await services.keeper.begin(autostart);
}

asio::awaitable<void> get_images_ahead(Services& services) {
    AheadPlan plan;
    plan.names = services.config.images_ahead;
    plan.every = std::chrono::hours(services.config.images_ahead_hours);
    plan.marker = services.home.images() / ".ahead";
    GetImage get = [&services](std::string name) { return services.get_ahead(std::move(name)); };
    return keep_images_ahead(std::move(plan), std::move(get));
}

/// Serves until the server ends; then lets go of every VM without ending it.
asio::awaitable<void> serve(Services& services, control::Server& server, UniqueFd listener,
                            const SelfUpdate& self, bool autostart, bool& replaced) {
    TaskGroup tasks(services.executor);
    asio::signal_set signals(services.executor, SIGTERM, SIGINT, SIGHUP);
    tasks.spawn("signals", stop_on_signal(signals, server));
    tasks.spawn("heartbeat", beat(services, server, self, replaced));
    // The socket serves while adoption goes on: a silent QEMU must not hold up the answer about the
    // others.
    tasks.spawn("adoption", take_over(services, autostart));
    tasks.spawn("images ahead", get_images_ahead(services));
    if (needs_network_recovery(netbridge::setup::journal_directory))
        tasks.spawn("network", recover_network(services.runner));
    co_await server.serve(std::move(listener));
    tasks.cancel();
    services.background.cancel();
    services.keeper.cancel();
    services.nat.cancel();
    co_await tasks.join();
    co_await services.background.join();
    co_await services.nat.join();
    co_await services.keeper.join();
    for (const auto& vm : services.registry.all()) {
        vm->release();
        co_await vm->join();
    }
}

/// Returns true when the program was replaced and is to be executed anew.
Result<bool> run_services(const DaemonOptions& options, const state::Home& home,
                          const SelfUpdate& self) {
    NOXSUP_TRY(home.prepare());
    NOXSUP_TRY_VALUE(const auto lock, home.lock());
    NOXSUP_TRY_VALUE(auto config, state::load_config(home.config()));
    for (const auto& warning : config.warnings) log_warning(warning);
    asio::io_context context(1);
    NOXSUP_TRY_VALUE(const auto services,
                     Services::make(context.get_executor(), home, std::move(config)));
    // What a crash left takes some space; that is no reason to leave VMs without a supervisor.
    if (const auto swept = services->store.sweep(); !swept) log_warning(swept.error().message);
    if (const auto swept = services->templates.store().sweep(); !swept)
        log_warning(swept.error().message);
    NOXSUP_TRY(services->image_store.prepare());
    NOXSUP_TRY(services->registry.load());
    control::Server server(context.get_executor(), server_options(home, services->registry));
    register_vm_api(server, *services);
    register_vm_settings_api(server, *services);
    register_vm_cards_api(server, *services);
    register_usage_api(server, *services);
    register_snapshot_api(server, *services);
    register_clone_api(server, *services);
    register_create_api(server, *services);
    register_template_api(server, *services);
    register_image_api(server, *services);
    register_host_api(server, *services);
    register_events_api(server, services->executor, services->environment.events,
                        [&registry = services->registry](const std::string& name) {
                            return registry.status(name).has_value();
                        });
    NOXSUP_TRY_VALUE(auto listener, bind_socket(home));
    log_info("noxsup " NOXSUP_VERSION " serves " + home.root().string());
    control::report_ready(options.ready_fd);
    const auto manager = ServiceManager::from_environment();
    manager.ready();
    std::exception_ptr failure;
    bool replaced = false;
    asio::co_spawn(context,
                   serve(*services, server, std::move(listener), self, options.autostart, replaced),
                   [&failure](const std::exception_ptr& e) { failure = e; });
    context.run();
    if (!replaced) manager.stopping();
    ::unlink(home.control_socket().c_str());
    if (failure) std::rethrow_exception(failure);
    return replaced;
}

}  // namespace

int run(const DaemonOptions& options) {
    set_log_level(options.log_level);
    ::umask(0077);
    ::signal(SIGPIPE, SIG_IGN);
    // Started by a command: the service around that one, if any, is none of ours.
    if (options.ready_fd >= 0) ::unsetenv("NOTIFY_SOCKET");
    const state::Home home(options.home,
                           options.system_scope ? state::Scope::system : state::Scope::user);
    const SelfUpdate self;
    const auto outcome = run_services(options, home, self);
    if (outcome && !*outcome) return 0;
    const auto error = outcome ? self.execute() : outcome.error();
    log_critical(error.message);
    control::report_failure(options.ready_fd, error);
    return exit_code_of(error.code);
}

}  // namespace noxsup::daemon
