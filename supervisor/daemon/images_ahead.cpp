#include "supervisor/daemon/images_ahead.hpp"

#include <algorithm>

#include "supervisor/base/async.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/log.hpp"

namespace noxsup::daemon {
namespace {

using std::chrono::milliseconds;

/// Until the next round is due. A last one in the future is one of a clock that was wrong.
milliseconds wait_for_round(const AheadPlan& plan) {
    std::error_code failure;
    const auto last = std::filesystem::last_write_time(plan.marker, failure);
    if (failure) return plan.settle;
    const auto since = std::chrono::duration_cast<milliseconds>(
        std::filesystem::file_time_type::clock::now() - last);
    if (since < milliseconds::zero()) return plan.settle;
    return std::max(plan.settle, plan.every - since);
}

}  // namespace

boost::asio::awaitable<void> keep_images_ahead(AheadPlan plan, GetImage get) {
    if (plan.names.empty()) co_return;
    auto wait = wait_for_round(plan);
    for (;;) {
        const bool slept = co_await sleep_for(wait);
        if (!slept) co_return;
        bool complete = true;
        for (const auto& name : plan.names) {
            auto getting = get(name);
            const auto got = co_await std::move(getting);
            if (got && *got) log_info("the newest image of " + name + " is here");
            if (got) continue;
            if (got.error().code == ErrorCode::interrupted) co_return;
            complete = false;
            log_warning("no newer image of " + name + " for now: " + got.error().message);
        }
        if (const auto kept = write_file_atomic(plan.marker, "", 0600); !kept)
            log_warning(kept.error().message);
        wait = complete ? plan.every : std::min(plan.every, plan.again);
    }
}

}  // namespace noxsup::daemon
