// The managed NAT network: made when a VM needs it, kept alive, adopted after a supervisor's death,
// and removed when no VM needs it any more.
#pragma once

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "netbridge/bridge_health.hpp"
#include "netbridge/nat/nat_bridge.hpp"
#include "netbridge/nat/rules.hpp"
#include "supervisor/base/async.hpp"
#include "supervisor/base/sync.hpp"
#include "supervisor/daemon/dnsmasq_process.hpp"
#include "supervisor/daemon/nat_state.hpp"

namespace noxsup::daemon {

/// Owns noxbr0 with its subnet, the table noxsup_nat, dnsmasq and the forwarding that it takes.
/// None of them depends on this process. One a supervisor, all calls on its executor.
class NatService {
  public:
    struct Options {
        boost::asio::any_io_executor executor;
        std::string home;                 ///< by which the bridge is known as ours
        std::filesystem::path directory;  ///< for state, leases and log; made when needed
        std::string boot_id;
        /// All VMs that have a card on the NAT network, running or not.
        std::function<std::vector<NatGuest>()> guests;
        netbridge::KernelViews views{};
        std::chrono::milliseconds linger{2'000};  ///< how long it stays without a user
        std::chrono::milliseconds first_delay{500};
    };
    /// While one of these lives the network stays, and its ports are forwarded.
    using Use = std::shared_ptr<void>;
    using Ports = std::vector<netbridge::NatPort>;

    NatService(netbridge::KernelNetwork& kernel, Options options);
    NatService(const NatService&) = delete;
    NatService& operator=(const NatService&) = delete;
    ~NatService();

    /// Whether the network could be made, told without changing anything. Errors: host_lacks_right,
    /// host_lacks_tool, already_exists (noxbr0 is another's), address_taken (no subnet is free).
    [[nodiscard]] Result<> available() const;

    /// Makes all of it, or what is missing of it, with an address and a name for every guest; when
    /// it fails and nobody else uses it nothing is left. `ports` are forwarded, but for those of a
    /// MAC that is no guest's. Errors: as available(); port_taken (53 or 67), command_failed,
    /// io_error.
    boost::asio::awaitable<Result<Use>> use(Ports ports);

    /// For a VM that runs already.
    Use keep(Ports ports);

    /// After all VMs were adopted: puts back what is missing where a VM uses it, and sweeps what a
    /// supervisor that died left where none does.
    boost::asio::awaitable<void> begin();

    /// Called once a minute: what a firewall's reload took, a network that the host has come to, a
    /// VM that was deleted or renamed.
    boost::asio::awaitable<void> check();

    /// What keeps VMs from working behind it although it is there, for `degraded`.
    [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }

    /// For doctor. Empty where it is not in use.
    struct Status {
        bool up = false;
        std::string subnet;  ///< of now, or of the next time; may be empty
        std::optional<pid_t> dnsmasq;
        std::vector<std::string> forwarding;  ///< devices for which we switched it on
    };
    [[nodiscard]] Status status() const;

    /// Lets go of everything without ending it: for the end of the supervisor.
    void cancel();
    boost::asio::awaitable<void> join();

  private:
    struct Users;
    class Turn;

    boost::asio::awaitable<void> my_turn();
    [[nodiscard]] bool is_used() const;
    [[nodiscard]] Result<bool> is_needed() const;
    boost::asio::awaitable<Result<>> make();
    void load();
    Result<> save();
    Result<> choose_subnet();
    Result<> switch_forwarding();
    Result<> put_rules();
    [[nodiscard]] netbridge::DnsmasqPlan plan() const;
    Result<> write_hosts();
    boost::asio::awaitable<void> keep_dnsmasq(const netbridge::DnsmasqPlan& wanted,
                                              int bridge_index);
    boost::asio::awaitable<Result<>> serve(int bridge_index);
    boost::asio::awaitable<void> watch(launch::ProcessIdentity identity, int pidfd);
    boost::asio::awaitable<void> serve_again(std::chrono::milliseconds delay);
    boost::asio::awaitable<void> sweep(std::chrono::milliseconds after);
    boost::asio::awaitable<void> take_down();
    void take_down_devices();
    void look_at_firewall();
    void on_let_go(bool had_ports);
    boost::asio::awaitable<void> forward_again();
    [[nodiscard]] std::vector<netbridge::NatForward> forwards() const;

    netbridge::KernelNetwork& kernel_;
    Options options_;
    netbridge::NatOwner owner_;
    std::filesystem::path hosts_directory_;
    std::shared_ptr<Users> users_;
    NatState state_;
    NatState saved_;
    bool loaded_ = false;
    bool busy_ = false;
    bool begun_ = false;
    bool closing_ = false;
    bool unread_ = false;  ///< dnsmasq has not read its files since they were written
    std::optional<DnsmasqProcess> dnsmasq_;
    std::chrono::steady_clock::time_point started_at_;
    std::chrono::milliseconds next_delay_;
    std::string rules_;
    std::vector<std::string> notes_;
    Condition condition_;
    TaskGroup tasks_;
};

}  // namespace noxsup::daemon
