// Starts VMs without being asked: again when their QEMU has ended, by their restart policy, and
// with the host, by their autostart rule.
#pragma once

#include <boost/asio.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "supervisor/base/async.hpp"
#include "supervisor/daemon/registry.hpp"
#include "supervisor/lifecycle/restart_backoff.hpp"
#include "supervisor/state/home.hpp"
#include "supervisor/vm/vm.hpp"

namespace noxsup::daemon {

/// The VMs that start with the host, in the order in which they do: by their rule's order, then by
/// name. `last` counts where the host went down while it ran, or while it was to start again.
std::vector<std::shared_ptr<vm::Vm>> autostart_order(std::vector<std::shared_ptr<vm::Vm>> vms);

/// Owns every start to come. No timer runs while nothing is to come. One thread.
class Keeper {
  public:
    Keeper(vm::Environment& environment, Registry& registry, lifecycle::BackoffLimits limits = {});
    Keeper(const Keeper&) = delete;
    Keeper& operator=(const Keeper&) = delete;

    /// For vm::Environment::on_end: decides, and sees to it that a start comes.
    lifecycle::Verdict on_end(vm::Vm& vm, const lifecycle::End& end);

    /// Somebody takes the VM in hand (start, stop, restart, delete): no start of ours comes any
    /// more, and its ends are counted anew.
    void withdraw(vm::Vm& vm);

    /// What was left to do when the supervisor began: on the first one after a boot of the host the
    /// VMs that start with it, else the restarts that an earlier supervisor was waiting for.
    /// Completes when all of them are under way. @pre every VM is adopted
    boost::asio::awaitable<void> begin(bool autostart);

    /// Until as many calls of resume(): nothing is started, for a host that shuts down. What was to
    /// come is off.
    void suspend();
    void resume() { --suspended_; }
    [[nodiscard]] bool is_suspended() const { return suspended_ > 0; }

    /// For the end of the supervisor: what was to come stays in the VMs' records.
    void cancel();
    boost::asio::awaitable<void> join();

  private:
    /// What is known of a VM that has ended, or that waits for its start.
    struct Kept {
        lifecycle::RestartBackoff backoff;
        std::uint64_t ticket = 0;  ///< of the start to come; another one withdraws it
        std::shared_ptr<boost::asio::steady_timer> timer;
    };

    Kept& kept_of(const vm::Vm& vm);
    void drop(Kept& kept);
    [[nodiscard]] bool is_valid(const vm::Vm& vm, std::uint64_t ticket);
    boost::asio::awaitable<void> start_later(std::shared_ptr<vm::Vm> vm, std::uint64_t ticket);
    boost::asio::awaitable<void> start_now(std::shared_ptr<vm::Vm> vm, std::uint64_t ticket);
    boost::asio::awaitable<void> autostart();
    void go_on_waiting();
    [[nodiscard]] bool is_first_since_boot() const;

    vm::Environment& environment_;
    Registry& registry_;
    lifecycle::BackoffLimits limits_;
    std::map<std::string, Kept> kept_;    ///< by uuid
    std::set<std::string> to_autostart_;  ///< uuids of those whose turn has not come
    std::uint64_t last_ticket_ = 0;
    int suspended_ = 0;
    TaskGroup restarts_;
    TaskGroup autostarts_;
};

}  // namespace noxsup::daemon
