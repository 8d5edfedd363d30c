#include "supervisor/base/async.hpp"

#include "supervisor/base/log.hpp"

namespace noxsup {

namespace asio = boost::asio;

asio::awaitable<bool> sleep_for(SteadyDuration duration) {
    asio::steady_timer timer(co_await asio::this_coro::executor, duration);
    const auto [failure] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    co_return !failure;
}

struct TaskGroup::State {
    explicit State(asio::any_io_executor used)
        : executor(std::move(used)), changed(executor, asio::steady_timer::time_point::max()) {}

    asio::any_io_executor executor;
    asio::steady_timer changed;  ///< cancelled whenever a task has ended
    std::list<asio::cancellation_signal> running;
    std::list<asio::cancellation_signal> ended;  ///< read once more, perhaps; see spawn()
};

TaskGroup::TaskGroup(asio::any_io_executor executor)
    : state_(std::make_shared<State>(std::move(executor))) {}

TaskGroup::~TaskGroup() = default;

void TaskGroup::spawn(std::string name, asio::awaitable<void> task) {
    auto& signals = state_->running;
    const auto signal = signals.emplace(signals.end());
    auto finish = [state = state_, signal,
                   name = std::move(name)](const std::exception_ptr& failure) {
        // Outside of the executor's run, cancel() only leaves a word in its queue, and that reads
        // what the signal owns: it has to outlive the words that are there already.
        state->ended.splice(state->ended.end(), state->running, signal);
        asio::post(state->executor, [state, signal] { state->ended.erase(signal); });
        state->changed.cancel();
        if (!failure) return;
        try {
            std::rethrow_exception(failure);
        } catch (const boost::system::system_error& e) {
            // The ordinary end of a cancelled task.
            if (e.code() == asio::error::operation_aborted) return;
            log_error("task " + name + " ended: " + e.what());
        } catch (const std::exception& e) {
            log_error("task " + name + " ended: " + e.what());
        }
    };
    asio::co_spawn(state_->executor, std::move(task),
                   asio::bind_cancellation_slot(signal->slot(), std::move(finish)));
}

void TaskGroup::cancel() {
    // A handler may move its own entry while we walk.
    for (auto it = state_->running.begin(); it != state_->running.end();) {
        auto& signal = *it++;
        signal.emit(asio::cancellation_type::terminal);
    }
}

asio::awaitable<void> TaskGroup::join() {
    auto state = state_;
    while (!state->running.empty()) {
        co_await state->changed.async_wait(asio::as_tuple(asio::use_awaitable));
    }
}

std::size_t TaskGroup::size() const {
    return state_->running.size();
}

}  // namespace noxsup
