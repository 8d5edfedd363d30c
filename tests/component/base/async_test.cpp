#include "supervisor/base/async.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

#include "tests/support/run_async.hpp"

namespace noxsup {
namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;

asio::awaitable<Result<int>> answer_after(SteadyDuration delay) {
    const bool slept = co_await sleep_for(delay);
    if (!slept) co_return Error{ErrorCode::interrupted, "cancelled inside"};
    co_return 42;
}

TEST(WithDeadline, PassesTheValueOn) {
    asio::io_context context;
    Error late(ErrorCode::timeout, "late");
    const auto value =
        test::run_async(context, with_deadline(answer_after(1ms), 5s, std::move(late)));
    EXPECT_EQ(*value, 42);
}

TEST(WithDeadline, GivesTheLateErrorWhenTheTimeHasPassed) {
    asio::io_context context;
    Error late(ErrorCode::timeout, "late");
    const auto value =
        test::run_async(context, with_deadline(answer_after(1h), 20ms, std::move(late)));
    ASSERT_FALSE(value);
    EXPECT_EQ(value.error().message, "late");
}

TEST(RunBlocking, RunsOffTheThreadAndComesBack) {
    asio::io_context context;
    asio::thread_pool pool(1);
    const auto here = std::this_thread::get_id();
    auto task = [&]() -> asio::awaitable<bool> {
        auto where = [] { return std::this_thread::get_id(); };
        const auto there = co_await run_blocking(pool, where);
        co_return there != here&& std::this_thread::get_id() == here;
    };
    EXPECT_TRUE(test::run_async(context, task()));
    pool.join();
}

TEST(RunBlocking, PassesExceptionsOn) {
    asio::io_context context;
    asio::thread_pool pool(1);
    auto fail = []() -> int { throw std::runtime_error("from the pool"); };
    EXPECT_THROW(test::run_async(context, run_blocking(pool, fail)), std::runtime_error);
    pool.join();
}

/// Takes its time to go, and tells.
struct SlowToGo {
    std::atomic<bool>& is_gone;
    explicit SlowToGo(std::atomic<bool>& gone) : is_gone(gone) {}
    ~SlowToGo() {
        std::this_thread::sleep_for(50ms);
        is_gone = true;
    }
    SlowToGo(const SlowToGo&) = delete;
    SlowToGo& operator=(const SlowToGo&) = delete;
};

TEST(RunBlocking, TellsTheOutcomeOnceTheFunctionIsGoneWithWhatItHolds) {
    asio::io_context context;
    asio::thread_pool pool(1);
    std::atomic<bool> is_gone = false;
    auto task = [&]() -> asio::awaitable<bool> {
        auto work = [held = std::make_unique<SlowToGo>(is_gone)] { return held != nullptr; };
        co_await run_blocking(pool, std::move(work));
        co_return is_gone.load();
    };
    EXPECT_TRUE(test::run_async(context, task()));
    pool.join();
}

/// Cancels `task` as soon as it has begun, and again whenever it goes on; true when it has ended.
bool ends_by_cancellation(asio::io_context& context, asio::awaitable<void> task) {
    asio::cancellation_signal signal;
    bool ended = false;
    asio::co_spawn(context, std::move(task),
                   asio::bind_cancellation_slot(
                       signal.slot(), [&ended](const std::exception_ptr&) { ended = true; }));
    for (int i = 0; i < 500 && !ended; ++i) {
        context.run_for(10ms);
        context.restart();
        signal.emit(asio::cancellation_type::terminal);
    }
    return ended;
}

TEST(RunBlocking, IsWaitedForAndLeavesItsCallerCancellable) {
    asio::io_context context;
    asio::thread_pool pool(1);
    bool finished = false;
    bool slept = true;
    auto task = [&]() -> asio::awaitable<void> {
        co_await asio::this_coro::throw_if_cancelled(false);
        auto work = [] {
            std::this_thread::sleep_for(100ms);
            return 1;
        };
        finished = co_await run_blocking(pool, work) == 1;
        slept = co_await sleep_for(1h);
    };
    EXPECT_TRUE(ends_by_cancellation(context, task()));
    EXPECT_TRUE(finished) << "blocking work is never left behind";
    EXPECT_FALSE(slept);
    pool.join();
}

TEST(Uncancellable, RunsToItsEndAndPassesTheValueOn) {
    asio::io_context context;
    int value = 0;
    auto inner = []() -> asio::awaitable<int> {
        const bool slept = co_await sleep_for(50ms);
        co_return slept ? 7 : -1;
    };
    auto task = [&]() -> asio::awaitable<void> {
        co_await asio::this_coro::throw_if_cancelled(false);
        auto operation = inner();
        value = co_await uncancellable(std::move(operation));
        co_await sleep_for(1h);
    };
    EXPECT_TRUE(ends_by_cancellation(context, task()));
    EXPECT_EQ(value, 7);
}

TEST(TaskGroup, JoinsAfterCancel) {
    asio::io_context context;
    TaskGroup tasks(context.get_executor());
    int ended = 0;
    auto sleeper = [&]() -> asio::awaitable<void> {
        co_await sleep_for(1h);
        ++ended;
    };
    tasks.spawn("one", sleeper());
    tasks.spawn("two", sleeper());
    auto stop = [&]() -> asio::awaitable<bool> {
        co_await sleep_for(1ms);
        tasks.cancel();
        co_await tasks.join();
        co_return true;
    };
    EXPECT_TRUE(test::run_async(context, stop()));
    EXPECT_EQ(ended, 2);
    EXPECT_EQ(tasks.size(), 0U);
}

/// Cancelled while nothing runs, as at the end of a program: the word of it is in the queue behind
/// the task's last step.
TEST(TaskGroup, ATaskThatEndsBeforeItHearsOfItsCancellationIsLeftAlone) {
    asio::io_context context;
    TaskGroup tasks(context.get_executor());
    bool ended = false;
    auto brief = [&]() -> asio::awaitable<void> {
        co_await asio::post(asio::use_awaitable);
        ended = true;
    };
    tasks.spawn("brief", brief());
    // Up to the step that is its last.
    while (tasks.size() == 1 && context.poll_one() == 1) {
        tasks.cancel();
    }
    context.run();
    EXPECT_TRUE(ended);
    EXPECT_EQ(tasks.size(), 0U);
}

/// As at the end of a supervisor that has just been given something to do.
TEST(TaskGroup, ATaskThatIsCancelledBeforeItsFirstStepDoesNothing) {
    asio::io_context context;
    TaskGroup tasks(context.get_executor());
    bool ran = false;
    auto task = [&]() -> asio::awaitable<void> {
        ran = true;
        co_return;
    };
    tasks.spawn("unwanted", task());
    tasks.cancel();
    EXPECT_NO_THROW(context.run());
    EXPECT_FALSE(ran);
    EXPECT_EQ(tasks.size(), 0U);
}

/// Nor does one throw that cancels itself in the only step that it takes.
TEST(TaskGroup, ATaskMayCancelItsGroupInItsOnlyStep) {
    asio::io_context context;
    TaskGroup tasks(context.get_executor());
    auto task = [&]() -> asio::awaitable<void> {
        tasks.cancel();
        co_return;
    };
    tasks.spawn("last", task());
    EXPECT_NO_THROW(context.run());
    EXPECT_EQ(tasks.size(), 0U);
}

}  // namespace
}  // namespace noxsup
