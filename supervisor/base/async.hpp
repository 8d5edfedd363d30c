// The few coroutine helpers Boost 1.81 lacks: deadlines, blocking work off the thread, owned tasks.
#pragma once

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>

#include "supervisor/base/result.hpp"

namespace noxsup {

using SteadyDuration = std::chrono::steady_clock::duration;

/// Waits; returns early, without an exception, when cancelled. True when the whole time has passed.
boost::asio::awaitable<bool> sleep_for(SteadyDuration duration);

/// `operation`, or `late` when it has not completed within `limit`. The operation is cancelled then
/// and must honour it (Asio's own waits do; never put blocking work in it). Cancellation from
/// outside completes with `interrupted`.
template <class T>
boost::asio::awaitable<Result<T>> with_deadline(boost::asio::awaitable<Result<T>> operation,
                                                SteadyDuration limit, Error late) {
    using boost::asio::experimental::awaitable_operators::operator||;
    bool interrupted = false;
    try {
        auto first = co_await (std::move(operation) || sleep_for(limit));
        if (first.index() == 0) co_return std::move(std::get<0>(first));
        if (!std::get<1>(first)) interrupted = true;
    } catch (const boost::asio::multiple_exceptions&) {
        interrupted = true;
    } catch (const boost::system::system_error& e) {
        if (e.code() != boost::asio::error::operation_aborted) throw;
        interrupted = true;
    }
    if (interrupted) co_return Error{ErrorCode::interrupted, "interrupted"};
    co_return late;
}

/// Runs an operation to its end, whatever cancellation the caller gets meanwhile; the caller stays
/// cancellable afterwards. (this_coro::reset_cancellation_state changes the state of the whole
/// chain of coroutines up to its co_spawn, and for good.) The operation must end by itself.
template <class T>
boost::asio::awaitable<T> uncancellable(boost::asio::awaitable<T> operation) {
    namespace asio = boost::asio;
    const auto executor = co_await asio::this_coro::executor;
    auto no_slot = asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable);
    co_return co_await asio::co_spawn(executor, std::move(operation), std::move(no_slot));
}

/// Runs a blocking function on the pool and resumes on the caller's executor. The function cannot
/// be cancelled; it must end by itself, and is gone, with what it holds, once its outcome is told.
/// Exceptions pass through.
template <class F>
boost::asio::awaitable<std::invoke_result_t<F>> run_blocking(boost::asio::thread_pool& pool,
                                                             F function) {
    namespace asio = boost::asio;
    using Value = std::invoke_result_t<F>;
    struct State {
        std::optional<Value> value;
        std::exception_ptr failure;
        bool ended = false;  ///< of the caller's thread; the rest is the pool's until it is set
    };
    auto state = std::make_shared<State>();
    // A timer that never fires of itself, used as the event that ends the wait.
    auto done = std::make_shared<asio::steady_timer>(co_await asio::this_coro::executor,
                                                     asio::steady_timer::time_point::max());
    asio::post(pool, [state, done, work = std::optional<F>(std::move(function))]() mutable {
        try {
            state->value.emplace((*work)());
        } catch (...) {
            state->failure = std::current_exception();
        }
        work.reset();
        asio::post(done->get_executor(), [state, done] {
            state->ended = true;
            done->cancel();
        });
    });
    auto waiting = [](State& of, asio::steady_timer& event) -> asio::awaitable<void> {
        while (!of.ended) {
            co_await event.async_wait(asio::as_tuple(asio::use_awaitable));
        }
    };
    auto wait = waiting(*state, *done);
    co_await uncancellable(std::move(wait));
    if (state->failure) std::rethrow_exception(state->failure);
    co_return std::move(*state->value);
}

/// Owns coroutines: none is detached, all can be cancelled and awaited.
class TaskGroup {
  public:
    explicit TaskGroup(boost::asio::any_io_executor executor);
    TaskGroup(const TaskGroup&) = delete;
    TaskGroup& operator=(const TaskGroup&) = delete;
    /// @pre every task has ended, or the io_context will run no more
    ~TaskGroup();

    /// Starts a task. An exception out of it is a bug of ours: it is logged as an error under
    /// `name`.
    void spawn(std::string name, boost::asio::awaitable<void> task);
    /// Asks every task to end (terminal cancellation).
    void cancel();
    /// Completes when no task is left; does not cancel them. Honours cancellation of the waiter.
    boost::asio::awaitable<void> join();
    [[nodiscard]] std::size_t size() const;

  private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace noxsup
