// Promise P6: a guest that floods its console fills neither the disk nor the memory, whoever
// stalls, and the supervisor answers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <thread>

#include "tests/component/supervisor/control/running_server.hpp"
#include "tests/support/long_run.hpp"
#include "tests/support/memory.hpp"
#include "tests/support/stand_in_vm.hpp"

namespace noxsup::daemon {
namespace {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

constexpr std::size_t mebibyte = std::size_t{1} << 20;
constexpr std::size_t stalled_readers = 8;

class ConsoleFlood : public control::RunningServer {
  protected:
    ConsoleFlood() : stand_in_(context_, [](test::ScriptedQmpPeer& p) { p.expect_hang_up(); }) {
        server_->register_method("list", [this](control::CallContext&, Json) { return list(); });
        EXPECT_TRUE(run(adopt()));
    }
    ~ConsoleFlood() override {
        if (server_) stop();
    }

    asio::awaitable<bool> adopt() {
        co_await stand_in_.testvm->adopt();
        co_return stand_in_.testvm->state() == lifecycle::State::running;
    }

    asio::awaitable<Result<control::Reply>> list() {
        Json vms = Json::array({stand_in_.testvm->to_json()});
        co_return control::Reply(Json{{"vms", std::move(vms)}});
    }

    /// The bytes of the console's log and of the one before.
    std::uintmax_t log_bytes() {
        std::uintmax_t sum = 0;
        for (const auto* name : {"console.log", "console.log.1"}) {
            std::error_code failure;
            const auto size =
                std::filesystem::file_size(stand_in_.testvm->directory() / name, failure);
            if (!failure) sum += size;
        }
        return sum;
    }

    test::StandInVm stand_in_;
};

/// Writes lines to a console until so many bytes have gone; blocks while they are not taken.
void flood_console(int console, std::uint64_t bytes) {
    std::string lines;
    while (lines.size() < mebibyte / 16) lines += std::string(78, 'x') + "\r\n";
    while (bytes > 0) {
        const auto piece = std::min<std::uint64_t>(bytes, lines.size());
        const auto put = ::send(console, lines.data(), piece, MSG_NOSIGNAL);
        if (put < 0) return;
        bytes -= static_cast<std::uint64_t>(put);
    }
}

TEST_F(ConsoleFlood, FillsNeitherDiskNorMemoryAndIsAllTaken) {
    const std::uint64_t bytes = (test::is_long_run() ? 10240 : 96) * std::uint64_t{mebibyte};
    auto guest = stand_in_.accept_console();
    ASSERT_TRUE(guest);
    std::vector<UniqueFd> stalled;
    for (std::size_t i = 0; i < stalled_readers; ++i) {
        auto user = stand_in_.testvm->attach_console();
        ASSERT_TRUE(user);
        stalled.push_back(std::move(*user));
    }
    const auto client = connected();
    const auto list_takes = [&] {
        const auto begin = Clock::now();
        std::vector<int> none;
        const auto reply = run(client->call("list", Json::object(), std::move(none)));
        EXPECT_TRUE(reply);
        return Clock::now() - begin;
    };
    std::vector<Clock::duration> times;
    std::uintmax_t largest_logs = 0;
    const auto take = [&](std::uint64_t much) {
        std::atomic<bool> ended = false;
        std::thread flooding([&] {
            flood_console(guest.get(), much);
            ended = true;
        });
        while (!ended) {
            times.push_back(list_takes());
            largest_logs = std::max(largest_logs, log_bytes());
            context_.restart();
            context_.run_for(std::chrono::milliseconds(5));
        }
        flooding.join();
    };
    // What every flood takes once: buffers, the ring, the readers' sockets filled.
    take(8 * mebibyte);
    const auto heap = test::heap_bytes();
    const auto resident = test::resident_bytes();
    const auto begin = Clock::now();
    take(bytes);
    const std::chrono::duration<double> seconds = Clock::now() - begin;
    std::ranges::sort(times);
    const auto worst = std::chrono::duration<double, std::milli>(times[times.size() * 99 / 100]);
    const auto growth = [](std::size_t now, std::size_t before) {
        return static_cast<std::int64_t>(now) - static_cast<std::int64_t>(before);
    };
    const auto heap_growth = growth(test::heap_bytes(), heap);
    const auto resident_growth = growth(test::resident_bytes(), resident);
    EXPECT_LE(largest_logs, 2 * mebibyte);
    EXPECT_GT(largest_logs, mebibyte);
    EXPECT_LT(heap_growth, static_cast<std::int64_t>(2 * mebibyte));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    EXPECT_LT(resident_growth, static_cast<std::int64_t>(2 * mebibyte));
#endif
    EXPECT_EQ(stand_in_.testvm->state(), lifecycle::State::running);
    std::cout << bytes / mebibyte << " MiB in " << seconds.count() << " s past " << stalled_readers
              << " stalled readers: logs at most " << largest_logs << " bytes, heap "
              << heap_growth / 1024 << " KiB and resident set " << resident_growth / 1024
              << " KiB larger, list p99 " << worst.count() << " ms of " << times.size() << "\n";
}

}  // namespace
}  // namespace noxsup::daemon
