#include "supervisor/daemon/keeper.hpp"

#include <algorithm>
#include <tuple>

#include "supervisor/base/file.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::daemon {
namespace {

namespace asio = boost::asio;
using lifecycle::End;
using lifecycle::Next;
using lifecycle::Verdict;

constexpr std::size_t max_boot_id_bytes = 256;

bool starts_with_host(const vm::Vm& vm) {
    if (vm.is_active()) return false;
    switch (vm.spec().autostart.mode) {
        case spec::Autostart::off:
            return false;
        case spec::Autostart::on:
            return true;
        case spec::Autostart::last:
            return vm.reason() == lifecycle::Reason::host_shutdown || vm.restart_pending();
    }
    return false;
}

}  // namespace

std::vector<std::shared_ptr<vm::Vm>> autostart_order(std::vector<std::shared_ptr<vm::Vm>> vms) {
    std::erase_if(vms, [](const auto& vm) { return !starts_with_host(*vm); });
    std::ranges::sort(vms, {}, [](const auto& vm) {
        return std::tuple(vm->spec().autostart.order, vm->spec().name);
    });
    return vms;
}

Keeper::Keeper(vm::Environment& environment, Registry& registry, lifecycle::BackoffLimits limits)
    : environment_(environment),
      registry_(registry),
      limits_(limits),
      restarts_(environment.executor),
      autostarts_(environment.executor) {}

Keeper::Kept& Keeper::kept_of(const vm::Vm& vm) {
    const auto [entry, is_new] = kept_.try_emplace(vm.spec().uuid);
    if (is_new) {
        entry->second.backoff = lifecycle::RestartBackoff(limits_);
        entry->second.ticket = ++last_ticket_;
    }
    return entry->second;
}

void Keeper::drop(Kept& kept) {
    kept.ticket = ++last_ticket_;
    if (kept.timer) kept.timer->cancel();
    kept.timer.reset();
}

bool Keeper::is_valid(const vm::Vm& vm, std::uint64_t ticket) {
    const auto found = kept_.find(vm.spec().uuid);
    return !is_suspended() && found != kept_.end() && found->second.ticket == ticket;
}

Verdict Keeper::on_end(vm::Vm& vm, const End& end) {
    if (is_suspended() || vm.spec().restart == spec::RestartPolicy::no) return {};
    auto& kept = kept_of(vm);
    drop(kept);
    const auto now = std::chrono::steady_clock::now();
    const auto verdict = kept.backoff.on_end(vm.spec().restart, end, now);
    if (verdict.next == Next::give_up) {
        log_warning(vm.spec().name + " ends again and again; it is not started any more");
    } else if (verdict.next == Next::start) {
        log_info(vm.spec().name + " is started again in " + std::to_string(verdict.delay.count()) +
                 " ms");
        kept.timer = std::make_shared<asio::steady_timer>(environment_.executor, verdict.delay);
        restarts_.spawn("restart of " + vm.spec().name,
                        start_later(vm.shared_from_this(), kept.ticket));
    }
    return verdict;
}

void Keeper::withdraw(vm::Vm& vm) {
    to_autostart_.erase(vm.spec().uuid);
    if (const auto found = kept_.find(vm.spec().uuid); found != kept_.end()) {
        drop(found->second);
        kept_.erase(found);
    }
    if (vm.restart_pending()) vm.follow({});
}

asio::awaitable<void> Keeper::start_later(std::shared_ptr<vm::Vm> vm, std::uint64_t ticket) {
    if (!is_valid(*vm, ticket)) co_return;
    const auto timer = kept_of(*vm).timer;
    const auto [failure] = co_await timer->async_wait(asio::as_tuple(asio::use_awaitable));
    if (failure || !is_valid(*vm, ticket)) co_return;
    if (vm->spec().restart == spec::RestartPolicy::no) {
        // The policy was changed meanwhile.
        vm->follow({});
        co_return;
    }
    co_await start_now(std::move(vm), ticket);
}

asio::awaitable<void> Keeper::start_now(std::shared_ptr<vm::Vm> vm, std::uint64_t ticket) {
    if (!is_valid(*vm, ticket)) co_return;
    vm::Stages stages;
    const auto started = co_await vm->start(stages);
    if (started) {
        vm->remember_stages(stages.to_json());
        co_return;
    }
    if (started.error().code == ErrorCode::interrupted || !is_valid(*vm, ticket)) co_return;
    log_warning(vm->spec().name + " could not be started: " + started.error().message);
    if (vm->is_active()) co_return;
    // It counts as an end: what kept it from starting may pass, as a bridge that is not there yet.
    vm->follow(on_end(*vm, {lifecycle::State::failed, lifecycle::Reason::qemu_exit}));
}

bool Keeper::is_first_since_boot() const {
    const auto told = read_file(environment_.home.boot_marker(), max_boot_id_bytes);
    return !told || trim(*told) != environment_.boot_id;
}

asio::awaitable<void> Keeper::begin(bool autostart_wanted) {
    if (!is_first_since_boot()) {
        go_on_waiting();
        co_return;
    }
    if (!autostart_wanted) co_return;
    co_await autostart();
    // Only now: a supervisor that dies in the middle leaves the rest to the next one.
    const auto kept =
        write_file_atomic(environment_.home.boot_marker(), environment_.boot_id + "\n", 0600);
    if (!kept)
        log_warning("the next supervisor starts VMs as after a boot: " + kept.error().message);
}

/// After a boot of the host a VM that was to start again is one that ran, and autostart's.
asio::awaitable<void> Keeper::autostart() {
    const auto vms = autostart_order(registry_.all());
    for (const auto& vm : vms) to_autostart_.insert(vm->spec().uuid);
    for (const auto& vm : registry_.all()) {
        const auto& uuid = vm->spec().uuid;
        const bool left = vm->restart_pending() && !kept_.contains(uuid);
        if (left && !to_autostart_.contains(uuid)) vm->follow({});
    }
    for (std::size_t i = 0; i < vms.size(); ++i) {
        const auto& vm = vms[i];
        const auto rule = vm->spec().autostart;
        if (i > 0 && vms[i - 1]->spec().autostart.order != rule.order) co_await autostarts_.join();
        if (to_autostart_.erase(vm->spec().uuid) == 0 || is_suspended()) continue;
        log_info(vm->spec().name + " starts with the host");
        autostarts_.spawn("autostart of " + vm->spec().name, start_now(vm, kept_of(*vm).ticket));
        if (rule.delay_seconds == 0) continue;
        co_await autostarts_.join();
        if (!vm->is_active()) continue;
        const bool slept = co_await sleep_for(std::chrono::seconds(rule.delay_seconds));
        if (!slept) break;
    }
    co_await autostarts_.join();
}

void Keeper::go_on_waiting() {
    for (const auto& vm : registry_.all()) {
        if (!vm->restart_pending() || kept_.contains(vm->spec().uuid)) continue;
        vm->follow(on_end(*vm, {lifecycle::State::failed, lifecycle::Reason::unknown}));
    }
}

void Keeper::suspend() {
    ++suspended_;
    to_autostart_.clear();
    for (auto& [uuid, kept] : kept_) drop(kept);
    kept_.clear();
}

void Keeper::cancel() {
    restarts_.cancel();
    autostarts_.cancel();
}

asio::awaitable<void> Keeper::join() {
    co_await restarts_.join();
    co_await autostarts_.join();
}

}  // namespace noxsup::daemon
