// Readers of events on the control socket: fast, slow, stuck, gone; and a storm of a guest's.
#include "supervisor/daemon/events_api.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iostream>
#include <list>

#include "supervisor/control/rpc.hpp"
#include "tests/component/supervisor/control/running_server.hpp"
#include "tests/support/long_run.hpp"
#include "tests/support/memory.hpp"
#include "tests/support/stand_in_vm.hpp"

namespace noxsup::daemon {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using control::Client;
using control::ClientReply;
using test::ScriptedQmpPeer;
using testing::ElementsAre;
using testing::IsEmpty;

/// Adds up what a reader gets: every number once, seen or missed, in ascending order.
struct Account {
    void take(const Json& event) {
        const auto seq = event.at("seq").get<std::uint64_t>();
        const bool is_gap = event.at("kind") == "missed";
        const auto count = is_gap ? event.at("count").get<std::uint64_t>() : 1;
        if (last == 0) last = before = seq - count;
        in_order = in_order && seq == last + count;
        last = seq;
        (is_gap ? missed : seen) += count;
        gaps += is_gap ? 1 : 0;
    }
    /// True when nothing was left untold.
    [[nodiscard]] bool adds_up() const { return in_order && seen + missed == last - before; }

    std::uint64_t before = 0;  ///< the number before the first
    std::uint64_t last = 0;
    std::uint64_t seen = 0;
    std::uint64_t missed = 0;
    int gaps = 0;
    bool in_order = true;
};

/// A subscription by the client that commands use.
struct Follower {
    std::unique_ptr<Client> client;
    std::optional<Result<ClientReply>> outcome;
    Json beginning;
    std::vector<std::string> lines;  ///< "1 state", or "5 missed 3"; at most so many are kept
    Account account;

    void take(const Json& message) {
        if (!message.contains("event")) {
            beginning = message;
            return;
        }
        const auto& event = message.at("event");
        account.take(event);
        if (lines.size() >= 100) return;
        auto line = event.at("seq").dump() + " " + event.at("kind").get<std::string>();
        if (event.contains("count")) line += " " + event.at("count").dump();
        lines.push_back(std::move(line));
    }
};

/// A reader that reads only when it is told to.
class StuckReader {
  public:
    explicit StuckReader(const std::filesystem::path& path) {
        auto fd = connect_unix(path);
        if (!fd) throw std::runtime_error(fd.error().message);
        socket_ = std::move(*fd);
        const std::string_view lines =
            R"({"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":1,"client":"t"}})"
            "\n"
            R"({"jsonrpc":"2.0","id":2,"method":"events.subscribe","params":{"follow":true}})"
            "\n";
        const auto sent = send_with_fds(socket_.get(), lines, {});
        if (!sent || *sent != lines.size()) throw std::runtime_error("not sent");
    }

    /// Reads what is there.
    void read() {
        std::array<char, 65536> buffer{};
        const auto got = receive_with_fds(socket_.get(), buffer);
        if (!got || got->closed || got->would_block) return;
        ASSERT_TRUE(framer_.feed({buffer.data(), got->bytes}));
        while (const auto line = framer_.next()) {
            const auto message = Json::parse(*line);
            if (message.value("method", "") != "event") continue;
            if (message["params"].contains("event")) account.take(message["params"]["event"]);
        }
    }

    Account account;

  private:
    UniqueFd socket_;
    control::LineFramer framer_;
};

class EventsApi : public control::RunningServer {
  protected:
    EventsApi() { serve(hub_); }
    ~EventsApi() override {
        if (server_) stop();
    }

    void serve(vm::EventHub& hub) {
        register_events_api(*server_, context_.get_executor(), hub,
                            [](const std::string& name) { return name == "known"; });
    }

    static vm::Event about(const std::string& vm) {
        vm::Event event;
        event.vm = vm;
        event.state = lifecycle::State::running;
        return event;
    }

    static asio::awaitable<void> subscribe(Follower& follower, Json params) {
        control::CallListener listener;
        listener.on_event = [&follower](const Json& message) { follower.take(message); };
        std::vector<int> none;
        auto outcome = co_await follower.client->call("events.subscribe", std::move(params),
                                                      std::move(none), std::move(listener));
        follower.outcome.emplace(std::move(outcome));
    }

    /// Subscribes and waits until it stands.
    Follower& follower(Json params = {{"follow", true}}) {
        auto& made = followers_.emplace_back();
        made.client = connected();
        group_.spawn("follower", subscribe(made, std::move(params)));
        EXPECT_TRUE(run_until([&] { return made.outcome || !made.beginning.is_null(); }));
        return made;
    }

    /// A subscription that ends by itself.
    Follower& reader(Json params) {
        auto& made = follower(std::move(params));
        EXPECT_TRUE(run_until([&] { return made.outcome.has_value(); }));
        return made;
    }

    ErrorCode refused(Json params) {
        const auto& made = reader(std::move(params));
        return *made.outcome ? ErrorCode::failed : made.outcome->error().code;
    }

    bool echoes(Client& client) {
        std::vector<int> none;
        return run(client.call("echo", Json::object(), std::move(none))).has_value();
    }

    vm::EventHub hub_;
    std::list<Follower> followers_;  ///< until the calls have ended
};

TEST_F(EventsApi, AFollowerGetsWhatIsKeptThenNewsInOrder) {
    hub_.publish(about("a"));
    auto& made = follower();
    EXPECT_EQ(made.beginning.at("stream"), hub_.stream());
    EXPECT_EQ(made.beginning.at("seq"), 0);
    ASSERT_TRUE(run_until([&] { return made.account.last == 2; }));
    for (int i = 0; i < 3; ++i) hub_.publish(about("b"));
    ASSERT_TRUE(run_until([&] { return made.account.last == 5; }));
    hub_.publish_qmp(about("b"), "STOP", Json::object());
    ASSERT_TRUE(run_until([&] { return made.account.last == 6; }));
    EXPECT_THAT(made.lines,
                ElementsAre("1 supervisor", "2 state", "3 state", "4 state", "5 state", "6 qmp"));
    EXPECT_FALSE(made.outcome);
}

TEST_F(EventsApi, WithoutFollowItEndsWithWhatIsKept) {
    for (const auto* name : {"a", "b", "a"}) hub_.publish(about(name));
    EXPECT_THAT(reader(Json::object()).lines,
                ElementsAre("1 supervisor", "2 state", "3 state", "4 state"));
    EXPECT_THAT(reader({{"last", 1}}).lines, ElementsAre("4 state"));
    EXPECT_THAT(reader({{"last", 0}}).lines, IsEmpty());
    EXPECT_THAT(reader({{"names", {"a"}}}).lines, ElementsAre("2 state", "4 state"));
    EXPECT_THAT(reader({{"names", {"known"}}}).lines, IsEmpty());
    EXPECT_THAT(reader({{"since", 2}, {"stream", hub_.stream()}}).lines,
                ElementsAre("3 state", "4 state"));
    EXPECT_THAT(reader({{"since", 99}, {"stream", "another"}}).lines,
                ElementsAre("1 supervisor", "2 state", "3 state", "4 state"));
}

TEST_F(EventsApi, BadParametersAreRefused) {
    EXPECT_EQ(refused({{"follow", 1}}), ErrorCode::invalid_argument);
    EXPECT_EQ(refused({{"names", "a"}}), ErrorCode::invalid_argument);
    EXPECT_EQ(refused({{"since", -1}, {"stream", "x"}}), ErrorCode::invalid_argument);
    EXPECT_EQ(refused({{"names", {"../a"}}}), ErrorCode::invalid_name);
    EXPECT_EQ(refused({{"names", {"nobody"}}}), ErrorCode::vm_not_found);
    auto& early = follower({{"names", {"later"}}, {"follow", true}});
    hub_.publish(about("other"));
    hub_.publish(about("later"));
    ASSERT_TRUE(run_until([&] { return !early.lines.empty(); }));
    EXPECT_THAT(early.lines, ElementsAre("3 state"));
}

TEST_F(EventsApi, AFollowerIsNoWorkAndNeverIdle) {
    control::ServerOptions options;
    options.idle_timeout = 50ms;
    restart(std::move(options));
    serve(hub_);
    auto& made = follower();
    EXPECT_EQ(server_->running_calls(), 0U);
    run(sleep_for(150ms));
    EXPECT_EQ(server_->connections(), 1U);
    hub_.publish(about("a"));
    const auto last = hub_.last_seq();
    EXPECT_TRUE(run_until([&] { return made.account.last == last; }));
}

TEST_F(EventsApi, CancellationEndsItAndTheConnectionGoesOn) {
    auto& made = follower();
    made.client->cancel_calls();
    ASSERT_TRUE(run_until([&] { return made.outcome.has_value(); }));
    EXPECT_EQ(made.outcome->error().code, ErrorCode::interrupted);
    EXPECT_TRUE(echoes(*made.client));
}

TEST_F(EventsApi, ReadersThatGoLeaveNothing) {
    const auto fds = control::open_fds();
    for (int round = 0; round < 20; ++round) {
        auto& made = follower({{"follow", true}, {"last", 0}});
        const StuckReader stuck(socket_);
        for (int i = 0; i < 20; ++i) hub_.publish(about("a"));
        made.client->close();
        ASSERT_TRUE(run_until([&] { return made.outcome.has_value(); }));
    }
    ASSERT_TRUE(run_until([&] { return server_->connections() == 0; }));
    EXPECT_EQ(control::open_fds(), fds);
    hub_.publish(about("a"));
    EXPECT_TRUE(echoes(*connected()));
}

TEST_F(EventsApi, TheEndOfTheServerEndsFollowersEvenStuckOnes) {
    auto& made = follower();
    StuckReader stuck(socket_);
    for (int i = 0; i < 3000; ++i) {
        hub_.publish_qmp(about("a"), "BIG", {{"text", std::string(1000, 'x')}});
        if (i % 100 == 0) context_.run_for(1ms);
        if (context_.stopped()) context_.restart();
    }
    stop();
    ASSERT_TRUE(made.outcome);
    EXPECT_EQ(made.outcome->error().code, ErrorCode::interrupted);
}

TEST_F(EventsApi, ASlowReaderIsToldWhatItMissedAndSlowsNobody) {
    StuckReader stuck(socket_);
    auto& quick = follower();
    const auto other = connected();
    constexpr int rounds = 25;
    for (int round = 0; round < rounds; ++round) {
        for (int i = 0; i < 100; ++i) {
            hub_.publish_qmp(about("loud"), "NOISE", {{"text", std::string(500, 'x')}});
        }
        ASSERT_TRUE(echoes(*other));
        const auto last = hub_.last_seq();
        ASSERT_TRUE(run_until([&] { return quick.account.last == last; }));
    }
    EXPECT_EQ(quick.account.missed, 0U) << "who reads gets everything";
    hub_.publish(about("quiet"));
    EXPECT_EQ(server_->connections(), 3U) << "the stuck one was not dropped";
    const auto last = hub_.last_seq();
    ASSERT_TRUE(run_until([&] {
        stuck.read();
        return stuck.account.last == last;
    }));
    EXPECT_TRUE(stuck.account.adds_up());
    EXPECT_GT(stuck.account.missed, 0U);
    EXPECT_LE(stuck.account.gaps, 2);
}

/// Promise P4 (d): a guest's events by the thousand, while others work and one reader is stuck.
TEST_F(EventsApi, AStormOfQmpEventsLosesNoReplyAndLittleMemory) {
    const int rounds = test::is_long_run() ? 400 : 12;
    constexpr int events_a_round = 250;
    test::StandInVm stand_in(context_, [rounds](ScriptedQmpPeer& p) {
        std::string storm;
        for (int i = 0; i < events_a_round; ++i) {
            storm += R"({"event": "RTC_CHANGE", "data": {"offset": )" + std::to_string(i) +
                     R"(, "qom-path": "/machine/unattached/device[7]"}})" + "\r\n";
        }
        for (int round = 0; round < rounds; ++round) {
            const auto command = p.expect("query-status");
            p.say(storm);
            p.answer(command, {{"status", "running"}, {"running", true}});
        }
        p.expect_hang_up();
    });
    auto& hub = stand_in.environment.events;
    serve(hub);
    auto& quick = follower();
    StuckReader stuck(socket_);
    const auto other = connected();
    auto work = [](vm::Vm& vm) -> asio::awaitable<bool> {
        co_await vm.adopt();
        co_await vm.refresh();
        co_return vm.state() == lifecycle::State::running;
    };
    auto ask = [](vm::Vm& vm) -> asio::awaitable<bool> {
        co_await vm.refresh();
        co_return vm.state() == lifecycle::State::running;
    };
    ASSERT_TRUE(run(work(*stand_in.testvm)));
    const auto before = test::heap_bytes();
    const auto begin = std::chrono::steady_clock::now();
    for (int round = 1; round < rounds; ++round) {
        ASSERT_TRUE(run(ask(*stand_in.testvm))) << "a reply was lost in round " << round;
        ASSERT_TRUE(echoes(*other));
    }
    const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin);
    const auto last = hub.last_seq();
    EXPECT_GE(last, static_cast<std::uint64_t>(rounds) * events_a_round);
    ASSERT_TRUE(run_until([&] { return quick.account.last == last; }));
    const auto growth =
        static_cast<std::int64_t>(test::heap_bytes()) - static_cast<std::int64_t>(before);
    EXPECT_LT(growth, std::int64_t{4} << 20);
    EXPECT_TRUE(quick.account.adds_up());
    ASSERT_TRUE(run_until([&] {
        stuck.read();
        return stuck.account.last == last;
    }));
    EXPECT_TRUE(stuck.account.adds_up());
    std::cout << last << " events, "
              << static_cast<int>(static_cast<double>(last) / seconds.count()) << " a second, heap "
              << growth / 1024 << " KiB larger; the quick reader missed " << quick.account.missed
              << ", the stuck one " << stuck.account.missed << "\n";
    stop();
}

}  // namespace
}  // namespace noxsup::daemon
