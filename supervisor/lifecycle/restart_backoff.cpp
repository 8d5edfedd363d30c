#include "supervisor/lifecycle/restart_backoff.hpp"

#include <algorithm>

namespace noxsup::lifecycle {

bool wants_restart(spec::RestartPolicy policy, const End& end) {
    if (end.requested || end.reason == Reason::user || end.reason == Reason::host_shutdown)
        return false;
    switch (policy) {
        case spec::RestartPolicy::no:
            return false;
        case spec::RestartPolicy::on_failure:
            return end.state == State::failed || end.reason == Reason::unknown;
        case spec::RestartPolicy::always:
            return true;
    }
    return false;
}

Verdict RestartBackoff::on_end(spec::RestartPolicy policy, const End& end, Time now) {
    if (!wants_restart(policy, end)) {
        forget();
        return {};
    }
    while (!ends_.empty() && now - ends_.front() >= limits_.window) ends_.pop_front();
    ends_.push_back(now);
    if (ends_.size() >= limits_.most_ends) {
        forget();
        return {Next::give_up, {}};
    }
    const bool first = next_delay_ == next_delay_.zero();
    if (first || now - due_ >= limits_.window) next_delay_ = limits_.first;
    const auto delay = next_delay_;
    next_delay_ = std::min(2 * delay, limits_.longest);
    due_ = now + delay;
    return {Next::start, delay};
}

void RestartBackoff::forget() {
    ends_.clear();
    next_delay_ = {};
}

}  // namespace noxsup::lifecycle
