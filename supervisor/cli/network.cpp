#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "netbridge/bridge.hpp"
#include "netbridge/setup/transaction.hpp"
#include "netbridge/setup/watcher.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/cli/duration.hpp"
#include "supervisor/cli/network_view.hpp"
#include "supervisor/cli/terminal.hpp"
#include "supervisor/cli/verbs.hpp"

namespace noxsup::cli {
namespace {

namespace setup = netbridge::setup;
using netbridge::KernelNetwork;
using netbridge::Link;

constexpr std::chrono::seconds lock_limit{2};

Result<> need_root(std::string_view verb) {
    if (::geteuid() == 0) {
        // The managers' scripts look their programs up in it; one of a user's has no sbin.
        ::setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
        return {};
    }
    return Error{ErrorCode::host_lacks_right,
                 "network " + std::string(verb) +
                     " changes the configuration of this host's "
                     "network, for which it needs root",
                 "sudo noxsup network " + std::string(verb)};
}

/// Signals of the terminal and of those who end it wait while it lives: the change is carried out
/// or taken back as a whole. (Ignored ones would be ignored by the managers' programs as well.)
class Undisturbed {
  public:
    Undisturbed() {
        sigset_t signals;
        ::sigemptyset(&signals);
        for (const int number : {SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGTSTP, SIGTTOU, SIGTTIN})
            ::sigaddset(&signals, number);
        ::sigprocmask(SIG_BLOCK, &signals, &before_);
    }
    Undisturbed(const Undisturbed&) = delete;
    Undisturbed& operator=(const Undisturbed&) = delete;
    ~Undisturbed() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_{};
};

Result<> check_nothing_pending(const setup::JournalStore& store) {
    if (!store.has_pending()) return {};
    return Error{ErrorCode::wrong_state, "a set-up waits to be confirmed already",
                 "noxsup network confirm keeps it, noxsup network undo takes it back"};
}

Result<> ask_first(const setup::Plan& plan, const NetworkSetupOptions& options) {
    if (options.yes) return {};
    const auto question = "Make " + plan.bridge + " of " + plan.card + " (" +
                          std::string(setup::manager_name(plan.manager)) +
                          ")? Its addresses move there. Without `noxsup network confirm` within " +
                          options.timeout + " all goes back.";
    if (!is_interactive()) {
        return Error{ErrorCode::invalid_argument,
                     "network setup changes this host's network and asks first, but there is no "
                     "terminal",
                     "say --yes"};
    }
    if (!ask_yes_no(question, false)) return Error{ErrorCode::interrupted, "nothing was changed"};
    return {};
}

bool is_global(const netbridge::IpCidr& cidr) {
    const auto& address = cidr.address;
    return address.is_v4() ? !address.to_v4().is_loopback() : !address.to_v6().is_link_local();
}

Result<std::vector<std::string>> addresses_of(KernelNetwork& kernel, const std::string& name) {
    NOXSUP_TRY_VALUE(const auto device, netbridge::InterfaceName::parse(name));
    NOXSUP_TRY_VALUE(const auto link, kernel.find_link(device));
    std::vector<std::string> texts;
    if (!link) return texts;
    NOXSUP_TRY_VALUE(const auto addresses, kernel.addresses(*link));
    for (const auto& cidr : addresses) {
        if (is_global(cidr)) texts.push_back(cidr.to_string());
    }
    return texts;
}

/// The bridge's addresses, once it has as many as the card had, or after a while those that are
/// there.
std::vector<std::string> wait_for_addresses(KernelNetwork& kernel, const std::string& bridge,
                                            std::size_t wanted) {
    constexpr std::chrono::seconds limit{15};
    const auto deadline = std::chrono::steady_clock::now() + limit;
    for (;;) {
        auto addresses = addresses_of(kernel, bridge);
        const bool late = std::chrono::steady_clock::now() >= deadline;
        if (late || !addresses || addresses->size() >= wanted)
            return addresses ? std::move(*addresses) : std::vector<std::string>();
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
}

Result<std::string> own_program() {
    std::error_code failure;
    const auto path = std::filesystem::read_symlink("/proc/self/exe", failure);
    if (failure) return Error{ErrorCode::io_error, "read /proc/self/exe: " + failure.message()};
    return path.string();
}

BridgeView view_of(setup::Host& host, KernelNetwork& kernel, const std::vector<Link>& links,
                   const Link& link) {
    BridgeView view;
    view.name = link.name;
    view.state = link.up ? "up" : "down";
    view.mac = link.mac.to_string();
    view.fixed_mac = link.fixed_mac;
    if (auto addresses = addresses_of(kernel, link.name)) view.addresses = std::move(*addresses);
    for (const auto& port : links) {
        if (port.master == link.index) view.ports.push_back(port.name);
    }
    std::ranges::sort(view.ports);
    if (const auto name = netbridge::InterfaceName::parse(link.name)) {
        const auto usable = netbridge::can_use_bridge(kernel, *name);
        if (!usable) view.problem = usable.error().message;
    }
    if (const auto facts = setup::read_managers(host, link.name, link.index))
        view.managers = setup::managers_of(*facts);
    return view;
}

BridgeView missing(const std::string& name) {
    BridgeView view;
    view.name = name;
    view.state = "missing";
    view.problem = "it is not there";
    return view;
}

/// Every bridge, and those of noxsup's making that are not there.
Result<Json> read_bridges(setup::Host& host, KernelNetwork& kernel,
                          const std::vector<setup::JournalEntry>& journals) {
    NOXSUP_TRY_VALUE(const auto links, kernel.links());
    std::vector<BridgeView> views;
    for (const auto& link : links) {
        if (link.kind == "bridge") views.push_back(view_of(host, kernel, links, link));
    }
    for (const auto& entry : journals) {
        const auto found = std::ranges::find(views, entry.bridge, &BridgeView::name);
        auto& view = found == views.end() ? views.emplace_back(missing(entry.bridge)) : *found;
        view.setup = &entry;
    }
    std::ranges::sort(views, {}, &BridgeView::name);
    auto bridges = Json::array();
    for (const auto& view : views) bridges.push_back(bridge_json(view, setup::boot_time_now()));
    return bridges;
}

/// The bridge's ports that are no cards: VMs that would be cut off.
Result<> check_no_vms(KernelNetwork& kernel, const setup::JournalStore& store,
                      const std::string& bridge) {
    NOXSUP_TRY_VALUE(const auto entries, store.list());
    NOXSUP_TRY_VALUE(const auto links, kernel.links());
    for (const auto& entry : entries) {
        if (!bridge.empty() && entry.bridge != bridge) continue;
        const auto link = std::ranges::find(links, entry.bridge, &Link::name);
        if (link == links.end()) continue;
        std::vector<std::string> taps;
        for (const auto& port : links) {
            if (port.master == link->index && port.kind == "tun") taps.push_back(port.name);
        }
        if (taps.empty()) continue;
        return Error{ErrorCode::wrong_state, "VMs are on " + entry.bridge + ": " + join(taps, ", "),
                     "stop them first, or cut them off: noxsup network undo --force"};
    }
    return {};
}

Document setup_document(const setup::Journal& journal, const std::vector<std::string>& addresses,
                        std::chrono::milliseconds timeout) {
    Document document;
    const auto& plan = journal.plan;
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(timeout).count();
    document.json = {{"bridge", plan.bridge},
                     {"card", plan.card},
                     {"manager", setup::manager_name(plan.manager)},
                     {"addresses", addresses},
                     {"confirm_within_seconds", seconds}};
    document.names = {plan.bridge};
    document.table = {{"BRIDGE", "CARD", "MANAGER", "ADDRESSES"},
                      {{plan.bridge, plan.card, std::string(setup::manager_name(plan.manager)),
                        join(addresses, " ")}}};
    document.text = plan.bridge + " is made of " + plan.card + " (" +
                    std::string(setup::manager_name(plan.manager)) +
                    "): " + (addresses.empty() ? "no address yet" : join(addresses, ", ")) +
                    "\nall goes back in " + std::to_string(seconds) +
                    " s, unless: noxsup network confirm\n";
    return document;
}

Document dry_document(const setup::Plan& plan) {
    Document document;
    auto files = Json::array();
    auto commands = Json::array();
    for (const auto& file : plan.files) {
        files.push_back({{"path", file.path}, {"new", !file.before}, {"text", file.after.bytes}});
        document.names.push_back(file.path);
        document.table.rows.push_back({file.path, file.before ? "change" : "make"});
    }
    for (const auto* steps : {&plan.before, &plan.after}) {
        for (const auto& step : *steps) commands.push_back(step.argv);
    }
    document.json = {{"bridge", plan.bridge},
                     {"card", plan.card},
                     {"manager", setup::manager_name(plan.manager)},
                     {"files", std::move(files)},
                     {"commands", std::move(commands)}};
    document.table.headings = {"FILE", "CHANGE"};
    document.text = escape_for_terminal(setup::describe(plan));
    return document;
}

Document done_document(const setup::Journal& journal, const std::string& text) {
    Document document;
    document.json = {{"bridge", journal.plan.bridge}, {"card", journal.plan.card}};
    document.table = {{"BRIDGE", "CARD"}, {{journal.plan.bridge, journal.plan.card}}};
    document.names = {journal.plan.bridge};
    document.text = text + "\n";
    return document;
}

}  // namespace

Result<int> run_verb(Session& session, const NetworkListOptions& /*options*/) {
    const setup::JournalStore store;
    const auto host = setup::this_host();
    NOXSUP_TRY_VALUE(const auto kernel, netbridge::open_kernel_network());
    auto journals = store.list();
    if (!journals) session.note(journals.error().message + "; " + journals.error().hint);
    const std::vector<setup::JournalEntry> none;
    NOXSUP_TRY_VALUE(const auto bridges, read_bridges(*host, *kernel, journals ? *journals : none));
    return session.print(bridge_document(bridges));
}

Result<int> run_verb(Session& session, const NetworkSetupOptions& options) {
    if (!options.dry_run) NOXSUP_TRY(need_root("setup"));
    NOXSUP_TRY_VALUE(const auto timeout, parse_duration(options.timeout, "--timeout"));
    const setup::JournalStore store;
    const auto host = setup::this_host();
    NOXSUP_TRY_VALUE(const auto kernel, netbridge::open_kernel_network());
    NOXSUP_TRY(check_nothing_pending(store));
    NOXSUP_TRY_VALUE(const auto plan,
                     setup::plan_bridge(*host, *kernel, options.interface, options.bridge));
    if (options.dry_run) return session.print(dry_document(plan));
    NOXSUP_TRY(ask_first(plan, options));
    NOXSUP_TRY_VALUE(const auto before, addresses_of(*kernel, plan.card));
    NOXSUP_TRY_VALUE(const auto program, own_program());
    const Undisturbed undisturbed;
    NOXSUP_TRY(store.prepare());
    NOXSUP_TRY_VALUE(auto lock, store.lock(lock_limit));
    NOXSUP_TRY(check_nothing_pending(store));
    NOXSUP_TRY_VALUE(const auto journal, setup::carry_out(*host, store, plan, timeout, [&] {
                         return setup::arm_watcher(store, program, plan.bridge);
                     }));
    lock.reset();
    const auto addresses = wait_for_addresses(*kernel, plan.bridge, before.size());
    const auto left = journal.deadline - setup::boot_time_now();
    return session.print(setup_document(journal, addresses, left));
}

Result<int> run_verb(Session& session, const NetworkConfirmOptions& options) {
    NOXSUP_TRY(need_root("confirm"));
    NOXSUP_TRY_VALUE(const auto journal, setup::confirm(setup::JournalStore(), options.bridge));
    return session.print(
        done_document(journal, journal.plan.bridge + " stays; noxsup network undo takes it back"));
}

Result<int> run_verb(Session& session, const NetworkUndoOptions& options) {
    NOXSUP_TRY(need_root("undo"));
    const setup::JournalStore store;
    const auto host = setup::this_host();
    NOXSUP_TRY_VALUE(const auto kernel, netbridge::open_kernel_network());
    if (!options.force) NOXSUP_TRY(check_no_vms(*kernel, store, options.bridge));
    const Undisturbed undisturbed;
    NOXSUP_TRY_VALUE(const auto done, setup::undo(*host, store, options.bridge, options.force));
    const auto& [journal, back] = done;
    for (const auto& problem : back.problems) session.note("warning: " + problem);
    return session.print(done_document(
        journal, journal.plan.bridge + " is gone; " + journal.plan.card + " is as it was before"));
}

Result<int> run_verb(Session& /*session*/, const NetworkRollbackOptions& options) {
    NOXSUP_TRY(need_root("rollback"));
    const auto host = setup::this_host();
    const setup::JournalStore store;
    set_log_level(LogLevel::info);
    NOXSUP_TRY_VALUE(const auto recovered, setup::recover(*host, store, options.boot));
    for (const auto& bridge : recovered.bridges)
        log_warning("nobody confirmed the set-up of " + bridge + "; the network is as before it");
    for (const auto& problem : recovered.problems) log_error(problem);
    return recovered.problems.empty() ? 0 : exit_code_of(ErrorCode::failed);
}

Result<int> run_verb(Session& /*session*/, const NetworkWatchOptions& options) {
    NOXSUP_TRY(need_root("watch"));
    const auto host = setup::this_host();
    setup::leave_session();
    NOXSUP_TRY(setup::watch(*host, setup::JournalStore(), options.bridge,
                            UniqueFd(options.setup_fd), UniqueFd(options.ready_fd)));
    return 0;
}

}  // namespace noxsup::cli
