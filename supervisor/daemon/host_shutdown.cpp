#include "supervisor/daemon/host_shutdown.hpp"

#include <algorithm>

#include "supervisor/base/async.hpp"

namespace noxsup::daemon {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using std::chrono::seconds;

/// Kept back for the last look at a killed process, and for a host that is busy with its own end.
milliseconds reserve_of(milliseconds share) {
    return std::clamp<milliseconds>(share / 8, milliseconds(200), seconds(2));
}

struct Stopping {
    std::vector<GuestStop> ended;
    std::function<void(const GuestStop&)> on_stopped;
};

asio::awaitable<void> stop_one(std::shared_ptr<vm::Vm> vm, milliseconds share, Stopping& stopping) {
    Error late(ErrorCode::timeout, vm->spec().name + " has not stopped in time",
               "its QEMU is left to the host's own shutdown");
    const auto limits = limits_within(share - std::min(share, reserve_of(share)));
    auto stop = vm->stop(false, limits, lifecycle::Reason::host_shutdown);
    auto outcome = co_await with_deadline(std::move(stop), share, std::move(late));
    if (outcome && *outcome == vm::StopMethod::was_stopped) co_return;
    stopping.ended.push_back({vm->spec().name, std::move(outcome)});
    if (stopping.on_stopped) stopping.on_stopped(stopping.ended.back());
}

}  // namespace

std::vector<VmList> stop_groups(VmList vms) {
    const auto order_of = [](const auto& vm) { return vm->spec().autostart.order; };
    std::ranges::stable_sort(vms, std::ranges::greater(), order_of);
    std::vector<VmList> groups;
    for (auto& vm : vms) {
        if (groups.empty() || order_of(groups.back().front()) != order_of(vm))
            groups.emplace_back();
        groups.back().push_back(std::move(vm));
    }
    return groups;
}

milliseconds share_of(milliseconds left, std::size_t groups) {
    constexpr milliseconds comfortable = seconds(30);
    const auto equal = left / static_cast<std::int64_t>(std::max<std::size_t>(groups, 1));
    return std::max({equal, std::min(left / 2, comfortable), milliseconds(0)});
}

vm::StopLimits limits_within(milliseconds whole) {
    const auto firm = std::min<milliseconds>(seconds(16), whole / 2);
    vm::StopLimits limits;
    limits.button = whole - firm;
    limits.quit = firm * 10 / 16;
    limits.terminate = firm * 5 / 16;
    limits.kill = firm - limits.quit - limits.terminate;
    return limits;
}

asio::awaitable<std::vector<GuestStop>> stop_guests(
    asio::any_io_executor executor, VmList vms, milliseconds limit,
    std::function<void(const GuestStop&)> on_stopped) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    // One that waits for its start again counts too: it is told why it does not come up.
    std::erase_if(vms, [](const auto& vm) { return !vm->is_active() && !vm->restart_pending(); });
    const auto groups = stop_groups(std::move(vms));
    Stopping stopping;
    stopping.on_stopped = std::move(on_stopped);
    for (std::size_t i = 0; i < groups.size(); ++i) {
        const auto left =
            std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
        const auto share = share_of(left, groups.size() - i);
        TaskGroup tasks(executor);
        for (const auto& vm : groups[i]) {
            tasks.spawn("stop of " + vm->spec().name, stop_one(vm, share, stopping));
        }
        co_await tasks.join();
    }
    co_return std::move(stopping.ended);
}

}  // namespace noxsup::daemon
