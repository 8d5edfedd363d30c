// A condition that coroutines of one thread wait on.
#pragma once

#include <boost/asio.hpp>
#include <chrono>

#include "supervisor/base/async.hpp"

namespace noxsup {

/// Wakes waiters of the same executor. Predicates are checked by the waiter: `while (!ready)
/// co_await ...`.
class Condition {
  public:
    explicit Condition(const boost::asio::any_io_executor& executor)
        : timer_(executor, boost::asio::steady_timer::time_point::max()) {}

    void notify_all() { timer_.cancel(); }

    /// Completes at the next notify_all(); spurious wake-ups are possible. Honours cancellation by
    /// returning.
    boost::asio::awaitable<void> wait() {
        co_await timer_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    }

    /// The same, at most until `deadline`. False when the deadline has passed or the wait was
    /// cancelled from outside.
    boost::asio::awaitable<bool> wait_until(std::chrono::steady_clock::time_point deadline) {
        using boost::asio::experimental::awaitable_operators::operator||;
        const auto left = deadline - std::chrono::steady_clock::now();
        if (left <= SteadyDuration::zero()) co_return false;
        const auto state = co_await boost::asio::this_coro::cancellation_state;
        const auto first = co_await (wait() || sleep_for(left));
        co_return first.index() == 0 && state.cancelled() == boost::asio::cancellation_type::none;
    }

  private:
    boost::asio::steady_timer timer_;
};

}  // namespace noxsup
