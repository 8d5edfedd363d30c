#include "supervisor/daemon/nat_service.hpp"

#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <list>
#include <set>

#include "netbridge/nat/firewall.hpp"
#include "netbridge/nat/forwarding.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/process.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::daemon {
namespace {

namespace asio = boost::asio;
using netbridge::NatSubnet;

constexpr std::chrono::seconds longest_delay{60};
constexpr std::size_t max_leases_bytes = std::size_t{1} << 20;

netbridge::InterfaceName bridge_name() {
    return *netbridge::InterfaceName::parse(netbridge::nat_bridge_name);
}

/// The user that the package makes for it, or nobody.
std::string dnsmasq_user() {
    return ::getpwnam("dnsmasq") != nullptr ? "dnsmasq" : "nobody";
}

/// Its user may not enter a home; here it may.
std::filesystem::path readable_directory(const netbridge::NatOwner& owner) {
    return "/run/noxsup-nat-" + owner.id;
}

/// Makes it readable for all, whatever the umask. Names and addresses of VMs are no secret: who is
/// on this host can ask dnsmasq.
Result<> make_readable_directory(const std::filesystem::path& path) {
    NOXSUP_TRY(make_directories(path, 0755));
    if (::chmod(path.c_str(), 0755) != 0) return errno_error("chmod " + path.string(), errno);
    return {};
}

std::string text_of(const std::filesystem::path& path) {
    const auto text = read_file(path, max_leases_bytes);
    return text ? *text : std::string();
}

/// Returns whether it was another one before.
Result<bool> write_if_changed(const std::filesystem::path& path, const std::string& text) {
    std::error_code failure;
    if (std::filesystem::exists(path, failure) && text_of(path) == text) return false;
    NOXSUP_TRY(write_file_atomic(path, text, 0644));
    return true;
}

/// Last bytes of the addresses in dnsmasq's lease file.
std::set<std::uint8_t> leased_hosts(const std::string& leases) {
    std::set<std::uint8_t> hosts;
    for (const auto& line : split(leases, '\n')) {
        const auto fields = split(line, ' ');
        if (fields.size() < 3) continue;
        const auto address = netbridge::parse_ip(fields[2]);
        if (address && address->is_v4()) hosts.insert(address->to_v4().to_bytes()[3]);
    }
    return hosts;
}

}  // namespace

struct NatService::Users {
    std::list<Ports> ports;  ///< of each user; most have none
    std::function<void(bool had_ports)> on_let_go;
};

NatService::NatService(netbridge::KernelNetwork& kernel, Options options)
    : kernel_(kernel),
      options_(std::move(options)),
      owner_(netbridge::NatOwner::of(options_.home)),
      hosts_directory_(readable_directory(owner_)),
      users_(std::make_shared<Users>()),
      next_delay_(options_.first_delay),
      condition_(options_.executor),
      tasks_(options_.executor) {
    users_->on_let_go = [this](bool had_ports) { on_let_go(had_ports); };
}

NatService::~NatService() {
    users_->on_let_go = nullptr;
}

NatService::Use NatService::keep(Ports ports) {
    const auto user = users_->ports.insert(users_->ports.end(), std::move(ports));
    return Use(users_.get(), [users = users_, user](void*) {
        const bool had_ports = !user->empty();
        users->ports.erase(user);
        if (users->on_let_go) users->on_let_go(had_ports);
    });
}

bool NatService::is_used() const {
    return !users_->ports.empty();
}

/// A QEMU that is not found yet, or that does not answer, has its TAP there all the same.
Result<bool> NatService::is_needed() const {
    if (is_used()) return true;
    NOXSUP_TRY_VALUE(const auto bridge, netbridge::find_nat_bridge(kernel_, owner_));
    if (!bridge) return false;
    return netbridge::has_ports(kernel_, *bridge);
}

Result<> NatService::available() const {
    NOXSUP_TRY(kernel_.check_rights());
    if (::geteuid() != 0) {
        return Error{ErrorCode::host_lacks_right, "--network nat: DHCP and DNS for VMs take root",
                     "run noxsup as root or through its system service, or use --network user"};
    }
    if (!find_program("dnsmasq")) {
        return Error{ErrorCode::host_lacks_tool,
                     "--network nat: dnsmasq is not installed: it gives VMs their addresses",
                     "apt-get install dnsmasq-base"};
    }
    NOXSUP_TRY_VALUE(const auto bridge, netbridge::find_nat_bridge(kernel_, owner_));
    if (bridge) return {};
    NOXSUP_TRY_VALUE(const auto networks, netbridge::host_networks(kernel_, bridge_name()));
    NOXSUP_TRY(netbridge::choose_nat_subnet(std::nullopt, networks));
    return {};
}

/// Waits until nobody else makes or removes anything; @pre the caller puts busy_ back
asio::awaitable<void> NatService::my_turn() {
    while (busy_) co_await condition_.wait();
    busy_ = true;
}

/// Gives the turn back.
class NatService::Turn {
  public:
    explicit Turn(NatService& service) : service_(service) {}
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() {
        service_.busy_ = false;
        service_.condition_.notify_all();
    }

  private:
    NatService& service_;
};

asio::awaitable<Result<NatService::Use>> NatService::use(Ports ports) {
    auto use = keep(std::move(ports));
    co_await my_turn();
    const Turn turn(*this);
    auto made = co_await make();
    if (made) {
        look_at_firewall();
        co_return use;
    }
    auto error = std::move(made).error();
    const auto bridge = netbridge::find_nat_bridge(kernel_, owner_);
    const auto in_use =
        bridge && *bridge ? netbridge::has_ports(kernel_, **bridge) : Result<bool>(false);
    // The last one takes along what there is of it.
    if (users_->ports.size() == 1 && in_use && !*in_use) {
        auto going = take_down();
        co_await uncancellable(std::move(going));
    }
    co_return std::move(error.context("the NAT network"));
}

asio::awaitable<Result<>> NatService::make() {
    NOXSUP_CO_TRY(available());
    load();
    NOXSUP_CO_TRY(choose_subnet());
    NOXSUP_CO_TRY_VALUE(const auto bridge,
                        netbridge::make_nat_bridge(kernel_, owner_, *state_.subnet));
    NOXSUP_CO_TRY(write_hosts());
    NOXSUP_CO_TRY(switch_forwarding());
    NOXSUP_CO_TRY(put_rules());
    auto serving = serve(bridge.index);
    NOXSUP_CO_TRY(co_await std::move(serving));
    co_return save();
}

void NatService::load() {
    if (loaded_) return;
    auto state = load_nat_state(options_.directory / "state.json");
    // Nothing in it is worth more than a VM's start.
    if (!state) log_warning("the NAT network begins anew: " + state.error().message);
    state_ = state ? std::move(*state) : NatState();
    saved_ = state_;
    if (state_.boot_id != options_.boot_id) {
        state_.forwarding.clear();
        state_.dnsmasq.reset();
        state_.boot_id = options_.boot_id;
    }
    loaded_ = true;
}

Result<> NatService::save() {
    if (state_ == saved_) return {};
    NOXSUP_TRY(make_directories(options_.directory, 0700));
    NOXSUP_TRY(save_nat_state(options_.directory / "state.json", state_));
    saved_ = state_;
    return {};
}

Result<> NatService::choose_subnet() {
    NOXSUP_TRY_VALUE(const auto bridge, netbridge::find_nat_bridge(kernel_, owner_));
    NOXSUP_TRY_VALUE(const auto networks, netbridge::host_networks(kernel_, bridge_name()));
    bool has_ports = false;
    if (bridge) {
        NOXSUP_TRY_VALUE(has_ports, netbridge::has_ports(kernel_, *bridge));
    }
    if (has_ports) {
        // VMs that run have their addresses from the network as it is.
        NOXSUP_TRY_VALUE(const auto own, kernel_.addresses(*bridge));
        const auto found = std::ranges::find_if(
            own, [](const netbridge::IpCidr& address) { return address.address.is_v4(); });
        if (found != own.end()) state_.subnet = NatSubnet(found->address.to_v4());
        if (state_.subnet) return {};
    }
    NOXSUP_TRY_VALUE(auto choice, netbridge::choose_nat_subnet(state_.subnet, networks));
    if (!choice.moved.empty()) {
        log_warning("the NAT network is " + choice.subnet.to_string() + " from now on: " +
                    choice.moved + "; VMs keep the last number of their addresses");
    }
    state_.subnet = choice.subnet;
    return save();
}

Result<> NatService::switch_forwarding() {
    const auto bridge = bridge_name();
    const auto& views = options_.views;
    // It goes with the bridge.
    if (!netbridge::forwards(bridge.str(), views))
        NOXSUP_TRY(netbridge::set_forwarding(bridge.str(), true, views));
    // Then forwarding is the administrator's choice for all devices, and none of ours any more.
    if (netbridge::forwards_everywhere(views)) state_.forwarding.clear();
    NOXSUP_TRY_VALUE(const auto devices, netbridge::answering_devices(kernel_, bridge));
    std::vector<std::string> wanted;
    for (const auto& device : devices) {
        if (!netbridge::forwards(device, views)) wanted.push_back(device);
    }
    if (wanted.empty()) return {};
    for (const auto& device : wanted) {
        if (std::ranges::find(state_.forwarding, device) == state_.forwarding.end())
            state_.forwarding.push_back(device);
    }
    // First on disk: what is on is to be switched off again by whichever supervisor.
    NOXSUP_TRY(save());
    for (const auto& device : wanted) {
        NOXSUP_TRY(netbridge::set_forwarding(device, true, views));
        log_info("forwarding is on for " + device + ", for answers to VMs behind NAT alone");
    }
    return {};
}

/// In one order, whoever came first, so that the same ports make the same rules.
std::vector<netbridge::NatForward> NatService::forwards() const {
    std::vector<netbridge::NatForward> list;
    for (const auto& ports : users_->ports) {
        for (const auto& port : ports) {
            const auto host = state_.hosts.find(port.mac.to_string());
            if (host == state_.hosts.end() || !netbridge::is_forwarded(port.publish)) continue;
            list.push_back({port.publish, state_.subnet->host(host->second)});
        }
    }
    std::ranges::sort(list, {}, [](const auto& entry) {
        return std::pair(entry.guest, entry.publish.to_string());
    });
    return list;
}

Result<> NatService::put_rules() {
    netbridge::NatRules rules{bridge_name(), *state_.subnet};
    rules.guarded = state_.forwarding;
    rules.forwards = forwards();
    auto text = netbridge::nat_rules(rules);
    NOXSUP_TRY_VALUE(const auto tables, kernel_.ip_rule_tables());
    const bool there = std::ranges::find(tables, netbridge::nat_table) != tables.end();
    if (there && text == rules_) return {};
    if (!there && !rules_.empty()) log_warning("the rules of the NAT network were gone");
    NOXSUP_TRY(kernel_.change_rules(text));
    rules_ = std::move(text);
    return {};
}

netbridge::DnsmasqPlan NatService::plan() const {
    return {find_program("dnsmasq").value_or("/usr/sbin/dnsmasq"),
            bridge_name(),
            *state_.subnet,
            dnsmasq_user(),
            hosts_directory_,
            options_.directory / "leases"};
}

Result<> NatService::write_hosts() {
    const auto guests = options_.guests();
    reserve_addresses(state_, guests, leased_hosts(text_of(options_.directory / "leases")));
    NOXSUP_TRY(save());
    const auto hosts = nat_hosts(state_, guests);
    NOXSUP_TRY(make_readable_directory(hosts_directory_));
    NOXSUP_TRY_VALUE(const bool dhcp,
                     write_if_changed(hosts_directory_ / netbridge::dhcp_hosts_name,
                                      netbridge::dhcp_hosts(hosts)));
    NOXSUP_TRY_VALUE(const bool dns, write_if_changed(hosts_directory_ / netbridge::dns_hosts_name,
                                                      netbridge::dns_hosts(hosts)));
    unread_ |= dhcp || dns;
    return {};
}

/// The one that serves already, if it may go on as it is. Its sockets are bound to one device, and
/// it was told one network.
asio::awaitable<void> NatService::keep_dnsmasq(const netbridge::DnsmasqPlan& wanted,
                                               int bridge_index) {
    const auto argv = netbridge::dnsmasq_argv(wanted);
    if (dnsmasq_ && process_ended(dnsmasq_->pidfd.get())) dnsmasq_.reset();
    if (!dnsmasq_) {
        dnsmasq_ = find_dnsmasq(state_.dnsmasq, netbridge::dnsmasq_mark(wanted));
        if (!dnsmasq_) co_return;
        log_info("adopted dnsmasq, pid " + std::to_string(dnsmasq_->identity.pid));
        // Whether it has read the files since they were written, nobody knows.
        unread_ = true;
        tasks_.spawn("dnsmasq", watch(dnsmasq_->identity, dnsmasq_->pidfd.get()));
    }
    const auto hosts = nat_hosts(state_, options_.guests());
    const bool in_the_way =
        unread_ && netbridge::leases_are_in_the_way(text_of(wanted.leases), hosts);
    // With a record that was lost the device is not known, either.
    const bool same_device = state_.bridge_index == bridge_index || state_.bridge_index == 0;
    if (dnsmasq_->arguments == argv && same_device && !in_the_way) co_return;
    auto ending = std::exchange(dnsmasq_, std::nullopt);
    auto stopping = stop_dnsmasq(std::move(*ending));
    co_await std::move(stopping);
}

/// Sees to it that dnsmasq serves, by adoption, SIGHUP, or a new start.
asio::awaitable<Result<>> NatService::serve(int bridge_index) {
    const auto wanted = plan();
    auto keeping = keep_dnsmasq(wanted, bridge_index);
    co_await std::move(keeping);
    state_.bridge_index = bridge_index;
    if (dnsmasq_) {
        if (unread_) NOXSUP_CO_TRY(send_signal(dnsmasq_->pidfd.get(), SIGHUP));
        unread_ = false;
        state_.dnsmasq = dnsmasq_->identity;
        co_return save();
    }
    const auto hosts = nat_hosts(state_, options_.guests());
    NOXSUP_CO_TRY(make_directories(options_.directory, 0700));
    const auto leases = netbridge::prune_leases(text_of(wanted.leases), hosts, *state_.subnet);
    NOXSUP_CO_TRY(write_file_atomic(wanted.leases, leases, 0600));
    const auto log = options_.directory / "dnsmasq.log";
    auto starting = start_dnsmasq(options_.executor, netbridge::dnsmasq_argv(wanted), log);
    NOXSUP_CO_TRY_VALUE(dnsmasq_, co_await std::move(starting));
    unread_ = false;
    started_at_ = std::chrono::steady_clock::now();
    state_.dnsmasq = dnsmasq_->identity;
    tasks_.spawn("dnsmasq", watch(dnsmasq_->identity, dnsmasq_->pidfd.get()));
    log_info("dnsmasq serves noxbr0 as pid " + std::to_string(dnsmasq_->identity.pid));
    co_return save();
}

/// Notices its end, unless we ended it.
asio::awaitable<void> NatService::watch(launch::ProcessIdentity identity, int pidfd) {
    co_await wait_for_exit(pidfd);
    if (closing_ || !dnsmasq_ || dnsmasq_->identity != identity) co_return;
    const auto status = reap(dnsmasq_->pidfd.get());
    dnsmasq_.reset();
    if (!is_used()) co_return;
    const auto ran = std::chrono::steady_clock::now() - started_at_;
    if (ran >= longest_delay) next_delay_ = options_.first_delay;
    log_warning("dnsmasq of noxbr0 has ended (" +
                (status ? status->describe() : std::string("not our child")) +
                "); it is started again");
    co_await serve_again(next_delay_);
}

asio::awaitable<void> NatService::serve_again(std::chrono::milliseconds delay) {
    for (;;) {
        next_delay_ = std::min<std::chrono::milliseconds>(2 * delay, longest_delay);
        const bool slept = co_await sleep_for(delay);
        if (!slept) co_return;
        co_await my_turn();
        const Turn turn(*this);
        if (!is_used() || dnsmasq_) co_return;
        const auto made = co_await make();
        if (made) co_return;
        log_error("VMs behind NAT get no addresses and names: " + made.error().message);
        delay = next_delay_;
    }
}

void NatService::on_let_go(bool had_ports) {
    if (closing_ || !begun_) return;
    // At once, also when the network goes soon: who asks is refused, and does not wait for an
    // answer to ARP.
    if (had_ports) tasks_.spawn("NAT ports", forward_again());
    if (!is_used()) tasks_.spawn("NAT sweep", sweep(options_.linger));
}

/// Without the ports of a VM that has stopped.
asio::awaitable<void> NatService::forward_again() {
    co_await my_turn();
    const Turn turn(*this);
    if (rules_.empty()) co_return;  // taken down meanwhile
    if (const auto put = put_rules(); !put)
        log_warning("ports of VMs behind NAT: " + put.error().message);
}

/// A TAP goes a moment after its QEMU.
asio::awaitable<void> NatService::sweep(std::chrono::milliseconds after) {
    constexpr std::chrono::milliseconds pause{100};
    constexpr int attempts = 20;
    bool slept = co_await sleep_for(after);
    for (int i = 0; slept && i < attempts; ++i) {
        {
            co_await my_turn();
            const Turn turn(*this);
            if (is_used()) co_return;
            const auto needed = is_needed();
            if (!needed) {
                log_warning("the NAT network stays: " + needed.error().message);
                co_return;
            }
            if (!*needed) {
                auto going = take_down();
                co_await std::move(going);
                co_return;
            }
        }
        slept = co_await sleep_for(pause);
    }
}

asio::awaitable<void> NatService::take_down() {
    load();
    if (!dnsmasq_ && state_.subnet)
        dnsmasq_ = find_dnsmasq(state_.dnsmasq, netbridge::dnsmasq_mark(plan()));
    if (dnsmasq_) {
        auto ending = std::exchange(dnsmasq_, std::nullopt);
        auto stopping = stop_dnsmasq(std::move(*ending));
        co_await std::move(stopping);
    }
    state_.dnsmasq.reset();
    take_down_devices();
    notes_.clear();
    std::error_code failure;
    std::filesystem::remove_all(hosts_directory_, failure);
    if (failure) log_warning("remove " + hosts_directory_.string() + ": " + failure.message());
    if (const auto saved = save(); !saved) log_warning(saved.error().message);
}

/// What is of the kernel. Another supervisor's stays.
void NatService::take_down_devices() {
    const auto bridge = netbridge::find_nat_bridge(kernel_, owner_);
    if (bridge) {
        const auto tables = kernel_.ip_rule_tables();
        if (tables && std::ranges::find(*tables, netbridge::nat_table) != tables->end()) {
            if (const auto removed = kernel_.change_rules(netbridge::nat_removal()); !removed)
                log_warning(removed.error().message);
        }
        rules_.clear();
        if (*bridge) {
            const auto removed = netbridge::remove_nat_bridge(kernel_, owner_);
            if (removed) {
                log_info("noxbr0 is removed: no VM uses it");
            } else {
                log_warning(removed.error().message);
            }
        }
    }
    // What was on before was never ours; where all forwards it is somebody else's choice by now.
    if (!netbridge::forwards_everywhere(options_.views)) {
        for (const auto& device : state_.forwarding) {
            if (!netbridge::forwards(device, options_.views)) continue;
            if (const auto off = netbridge::set_forwarding(device, false, options_.views); !off)
                log_warning(off.error().message);
        }
    }
    state_.forwarding.clear();
}

asio::awaitable<void> NatService::begin() {
    begun_ = true;
    if (is_used()) {
        co_await check();
        if (!notes_.empty()) co_return;
        look_at_firewall();
        co_return;
    }
    // A home that never had a VM behind NAT has nothing to sweep.
    std::error_code failure;
    if (!std::filesystem::exists(options_.directory / "state.json", failure)) co_return;
    load();
    co_await sweep(std::chrono::milliseconds(0));
}

asio::awaitable<void> NatService::check() {
    if (!is_used()) {
        const auto bridge = loaded_ ? netbridge::find_nat_bridge(kernel_, owner_)
                                    : Result<std::optional<netbridge::Link>>(std::nullopt);
        if (bridge && *bridge) co_await sweep(std::chrono::milliseconds(0));
        co_return;
    }
    co_await my_turn();
    const Turn turn(*this);
    const auto made = co_await make();
    if (!made) log_warning("the NAT network: " + made.error().message);
}

void NatService::look_at_firewall() {
    notes_.clear();
    const auto chains = kernel_.firewall_chains(bridge_name());
    if (!chains) return;
    if (const auto problem = netbridge::judge_firewall(*chains, bridge_name()))
        notes_.push_back(problem->id + ": " + problem->text + "; " + problem->fix);
}

NatService::Status NatService::status() const {
    Status status;
    status.up = dnsmasq_.has_value();
    if (state_.subnet) status.subnet = state_.subnet->to_string();
    if (dnsmasq_) status.dnsmasq = dnsmasq_->identity.pid;
    status.forwarding = state_.forwarding;
    return status;
}

void NatService::cancel() {
    closing_ = true;
    tasks_.cancel();
}

asio::awaitable<void> NatService::join() {
    co_await tasks_.join();
}

}  // namespace noxsup::daemon
