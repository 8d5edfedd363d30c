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
    struct Task {
        asio::cancellation_signal signal;
        bool begun = false;
        bool unwanted = false;  ///< cancelled before it had begun

        /// co_spawn (Boost 1.81 to 1.83) throws out of the io_context, and not to the task's
        /// handler, where the task is cancelled before its first step, or in a step that was its
        /// only one.
        static asio::awaitable<void> run(std::shared_ptr<Task> self, asio::awaitable<void> work) {
            self->begun = true;
            if (self->unwanted) co_return;
            std::exception_ptr failure;
            try {
                co_await std::move(work);
            } catch (...) {
                failure = std::current_exception();
            }
            co_await asio::this_coro::throw_if_cancelled(false);
            if (failure) std::rethrow_exception(failure);
        }
    };

    explicit State(asio::any_io_executor used)
        : executor(std::move(used)), changed(executor, asio::steady_timer::time_point::max()) {}

    asio::any_io_executor executor;
    asio::steady_timer changed;  ///< cancelled whenever a task has ended
    std::list<std::shared_ptr<Task>> running;
};

TaskGroup::TaskGroup(asio::any_io_executor executor)
    : state_(std::make_shared<State>(std::move(executor))) {}

TaskGroup::~TaskGroup() = default;

void TaskGroup::spawn(std::string name, asio::awaitable<void> task) {
    auto& running = state_->running;
    const auto entry = running.insert(running.end(), std::make_shared<State::Task>());
    const auto self = *entry;
    auto finish = [state = state_, entry,
                   name = std::move(name)](const std::exception_ptr& failure) {
        // Outside of the executor's run, cancel() only leaves a word in its queue, and that reads
        // what the signal owns: it has to outlive the words that are there already.
        asio::post(state->executor, [ended = *entry] {});
        state->running.erase(entry);
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
    asio::co_spawn(state_->executor, State::Task::run(self, std::move(task)),
                   asio::bind_cancellation_slot(self->signal.slot(), std::move(finish)));
}

void TaskGroup::cancel() {
    // A handler may move its own entry while we walk.
    for (auto it = state_->running.begin(); it != state_->running.end();) {
        const auto task = *it++;
        task->unwanted = !task->begun;
        if (task->begun) task->signal.emit(asio::cancellation_type::terminal);
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
