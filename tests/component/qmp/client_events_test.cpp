// The client against a scripted peer: floods of events, ends of connections, descriptors and
// resync.
#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "qmp/client.hpp"
#include "qmp/commands.hpp"
#include "qmp/resync.hpp"
#include "supervisor/base/async.hpp"
#include "supervisor/base/unix_socket.hpp"
#include "tests/component/qmp/client_fixture.hpp"
#include "tests/support/memory.hpp"

namespace noxsup::qmp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::size_t open_descriptors() {
    std::size_t count = 0;
    auto* directory = ::opendir("/proc/self/fd");
    while (::readdir(directory) != nullptr) ++count;
    ::closedir(directory);
    return count;
}

UniqueFd null_device() {
    return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

// --- events -------------------------------------------------------------------------------------

TEST_F(QmpClient, AnEventStormLosesNoReplyAndNoEvent) {
    constexpr int rounds = 200;
    constexpr int events_a_round = 100;
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        for (int round = 0; round < rounds; ++round) {
            const auto command = p.read_command();
            std::string storm;
            for (int i = 0; i < events_a_round; ++i) {
                storm += R"({"event": "RTC_CHANGE", "data": {"offset": )" +
                         std::to_string(round * events_a_round + i) + "}}\r\n";
            }
            p.say(storm);
            p.answer(command);
        }
        p.expect_hang_up();
    });
    auto client = connect(peer);
    int next = 0;
    bool in_order = true;
    client->set_event_handler([&](const Event& event) {
        in_order = in_order && event.data["offset"] == next;
        ++next;
    });
    auto ask = [&]() -> asio::awaitable<int> {
        int replies = 0;
        for (int round = 0; round < rounds; ++round) {
            const auto reply = co_await client->execute(Request("query-status"));
            if (reply) ++replies;
        }
        co_return replies;
    };
    const auto before = test::resident_bytes();
    EXPECT_EQ(run(ask()), rounds);
    EXPECT_EQ(next, rounds * events_a_round);
    EXPECT_TRUE(in_order);
#ifndef __SANITIZE_ADDRESS__  // which keeps freed memory for a while
    EXPECT_LT(test::resident_bytes(), before + (std::size_t{4} << 20));
#else
    static_cast<void>(before);
#endif
    client.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, HeldEventsAreBounded) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        const auto command = p.read_command();
        for (int i = 0; i < 10; ++i) p.say_event("E" + std::to_string(i));
        p.answer(command);
        p.expect_hang_up();
    });
    auto options = patient();
    options.max_held_events = 3;
    auto client = connect(peer, options);
    ASSERT_TRUE(run(client->execute(Request("query-status"))));
    EXPECT_EQ(client->lost_events(), 7U);
    std::vector<std::string> events;
    client->set_event_handler([&](const Event& event) { events.push_back(event.name); });
    EXPECT_THAT(events, ElementsAre("E7", "E8", "E9"));
    client.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, NoHeldEventsAtAll) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        const auto command = p.read_command();
        p.say_event("STOP");
        p.answer(command);
        p.expect_hang_up();
    });
    auto options = patient();
    options.max_held_events = 0;
    auto client = connect(peer, options);
    ASSERT_TRUE(run(client->execute(Request("query-status"))));
    EXPECT_EQ(client->lost_events(), 1U);
}

TEST_F(QmpClient, AHandlerMayReplaceItselfAndDestroyTheClient) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        p.read_command();
        for (int i = 0; i < 5; ++i) p.say_event("E" + std::to_string(i));
        p.expect_hang_up();
    });
    auto client = connect(peer);
    std::vector<std::string> events;
    client->set_event_handler([&](const Event& event) {
        const std::string marker(100, 'x');  // on the heap of this very handler
        client->set_event_handler([&, marker](const Event& later) {
            events.push_back(later.name);
            if (later.name == "E3") client.reset();
            EXPECT_EQ(marker.size(), 100U);
        });
        events.push_back(event.name);
        EXPECT_EQ(marker.size(), 100U);
    });
    const auto reply = run(client->execute(Request("query-status")));
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, ErrorCode::interrupted);
    EXPECT_THAT(events, ElementsAre("E0", "E1", "E2", "E3"));
    EXPECT_EQ(client, nullptr);
    // A socket closed with bytes unread resets its peer, and E4 may have no reader left; which of
    // these it meets is a matter of time.
    EXPECT_THAT(peer.finish(),
                AnyOf("", HasSubstr("Connection reset by peer"), "the client closed its end"));
}

TEST_F(QmpClient, AHandlerMayStartCommands) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        p.say_event("STOP");
        p.answer(p.expect("cont"));
        p.expect_hang_up();
    });
    auto client = connect(peer);
    TaskGroup tasks(context.get_executor());
    bool done = false;
    auto go_on = [&]() -> asio::awaitable<void> {
        const auto reply = co_await cont(*client);
        done = static_cast<bool>(reply);
    };
    client->set_event_handler([&](const Event&) { tasks.spawn("cont", go_on()); });
    auto wait = [&]() -> asio::awaitable<bool> {
        while (!done) co_await sleep_for(1ms);
        co_return true;
    };
    EXPECT_TRUE(run(wait()));
    client.reset();
    EXPECT_EQ(peer.finish(), "");
}

// --- the end of a connection
// ------------------------------------------------------------------------

TEST_F(QmpClient, EveryWaiterGetsAnErrorWhenQemuGoes) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        for (int i = 0; i < 10; ++i) p.read_command();
        p.hang_up();
    });
    auto client = connect(peer);
    std::vector<ErrorCode> codes;
    TaskGroup tasks(context.get_executor());
    auto ask = [&]() -> asio::awaitable<void> {
        const auto reply = co_await query_status(*client);
        if (!reply) codes.push_back(reply.error().code);
    };
    auto watch = [&]() -> asio::awaitable<void> {
        const auto why = co_await client->wait_closed();
        codes.push_back(why.code);
    };
    for (int i = 0; i < 10; ++i) tasks.spawn("ask", ask());
    tasks.spawn("watch", watch());
    int handled = 0;
    client->set_closed_handler([&](const Error&) { ++handled; });
    auto all = [&]() -> asio::awaitable<bool> {
        co_await tasks.join();
        co_return true;
    };
    run(all());
    EXPECT_EQ(codes, std::vector<ErrorCode>(11, ErrorCode::qemu_failed));
    EXPECT_EQ(handled, 1);
    EXPECT_EQ(run(client->wait_closed()).code, ErrorCode::qemu_failed);
    EXPECT_FALSE(run(client->wait_ready()));
}

TEST_F(QmpClient, DestroyedWhileCommandsWait) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        for (int i = 0; i < 10; ++i) p.read_command();
        p.expect_hang_up();
    });
    auto client = connect(peer);
    std::vector<ErrorCode> codes;
    TaskGroup tasks(context.get_executor());
    auto ask = [&]() -> asio::awaitable<void> {
        const auto reply = co_await query_status(*client);
        if (!reply) codes.push_back(reply.error().code);
    };
    for (int i = 0; i < 10; ++i) tasks.spawn("ask", ask());
    auto destroy = [&]() -> asio::awaitable<bool> {
        co_await sleep_for(20ms);
        client.reset();
        co_await tasks.join();
        co_return true;
    };
    run(destroy());
    EXPECT_EQ(codes, std::vector<ErrorCode>(10, ErrorCode::interrupted));
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, DestroyedBeforeACallIsAwaited) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) { p.negotiate(); });
    auto client = connect(peer);
    auto call = query_status(*client);
    client.reset();
    const auto status = run(std::move(call));
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::interrupted);
}

TEST_F(QmpClient, TheContextMayGoWhileCommandsWait) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        p.read_command();
        p.expect_hang_up();
    });
    auto own = std::make_unique<asio::io_context>();
    auto client = test::run_async(*own, Client::connect(peer.path(), patient()));
    ASSERT_TRUE(client);
    auto ask = [](Client& asked) -> asio::awaitable<void> { co_await query_status(asked); };
    asio::co_spawn(*own, ask(**client), [](const std::exception_ptr&) {});
    own->restart();
    own->run_for(50ms);
    client->reset();
    own.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, CloseAnswersAndTellsNoHandler) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        p.expect_hang_up();
    });
    auto client = connect(peer);
    bool told = false;
    client->set_closed_handler([&](const Error&) { told = true; });
    client->close();
    client->close();
    EXPECT_FALSE(client->is_open());
    EXPECT_EQ(run(client->wait_closed()).code, ErrorCode::interrupted);
    const auto status = run(query_status(*client));
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::interrupted);
    EXPECT_FALSE(told);
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, QuitEndsWithOrWithoutAReply) {
    for (const bool replies : {true, false}) {
        ScriptedQmpPeer peer([replies](ScriptedQmpPeer& p) {
            p.negotiate();
            const auto command = p.expect("quit");
            p.say_event("SHUTDOWN", Json{{"guest", false}, {"reason", "host-qmp-quit"}});
            if (replies) p.answer(command);
            p.hang_up();
        });
        auto client = connect(peer);
        std::vector<std::string> events;
        client->set_event_handler([&](const Event& event) { events.push_back(event.name); });
        const auto done = run(quit(*client));
        EXPECT_TRUE(done) << done.error().message;
        EXPECT_EQ(run(client->wait_closed()).code, ErrorCode::qemu_failed);
        EXPECT_THAT(events, ElementsAre("SHUTDOWN"));
        EXPECT_EQ(peer.finish(), "");
    }
}

TEST_F(QmpClient, WhatWasSaidBeforeTheEndIsDeliveredEvenWhenAWriteFails) {
    std::atomic<bool> gone = false;
    ScriptedQmpPeer peer([&](ScriptedQmpPeer& p) {
        p.negotiate();
        p.say_event("SHUTDOWN", Json{{"guest", true}, {"reason", "guest-shutdown"}});
        p.hang_up();
        gone = true;
    });
    auto client = connect(peer);
    while (!gone) std::this_thread::sleep_for(1ms);
    std::vector<std::string> events;
    client->set_event_handler([&](const Event& event) { events.push_back(event.name); });
    const auto status = run(query_status(*client));
    ASSERT_FALSE(status);
    EXPECT_THAT(events, ElementsAre("SHUTDOWN"));
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, WaitClosedCanBeCancelled) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        p.expect_hang_up();
    });
    auto client = connect(peer);
    TaskGroup tasks(context.get_executor());
    std::optional<ErrorCode> code;
    auto watch = [&]() -> asio::awaitable<void> {
        const auto why = co_await client->wait_closed();
        code = why.code;
    };
    tasks.spawn("watch", watch());
    auto cancel = [&]() -> asio::awaitable<bool> {
        co_await sleep_for(5ms);
        tasks.cancel();
        co_await tasks.join();
        co_return true;
    };
    run(cancel());
    EXPECT_EQ(code, ErrorCode::interrupted);
    EXPECT_TRUE(client->is_open());
}

// --- descriptors --------------------------------------------------------------------------------

TEST_F(QmpClient, SendsDescriptorsAndClosesItsOwn) {
    std::size_t received = 0;
    ScriptedQmpPeer peer([&](ScriptedQmpPeer& p) {
        p.negotiate();
        // It is of this very process: what it holds is closed before the client goes on to count.
        const auto take = [&](const char* command) {
            auto request = p.expect(command);
            received += p.descriptors().size();
            p.descriptors().clear();
            return request;
        };
        p.answer(take("getfd"));
        p.answer(take("add-fd"), Json{{"fdset-id", 7}, {"fd", 12}});
        p.expect_hang_up();
    });
    auto client = connect(peer);
    const auto before = open_descriptors();
    auto given = null_device();
    const auto number = given.get();
    ASSERT_TRUE(run(getfd(*client, "state", std::move(given))));
    EXPECT_EQ(::fcntl(number, F_GETFD), -1);
    const auto member = run(add_fd(*client, null_device(), 7, "disk"));
    ASSERT_TRUE(member) << member.error().message;
    EXPECT_EQ(member->fdset_id, 7);
    EXPECT_EQ(member->fd, 12);
    EXPECT_EQ(open_descriptors(), before);
    client.reset();
    EXPECT_EQ(peer.finish(), "");
    EXPECT_EQ(received, 2U);
}

TEST_F(QmpClient, LeaksNoDescriptorWhenQemuNeverGreets) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        for (int i = 0; i < 5; ++i) {
            p.accept();
            p.expect_hang_up();
        }
        p.hang_up();
    });
    ClientOptions options;
    options.greeting_deadline = 20ms;
    std::size_t before = 0;
    for (int i = 0; i < 5; ++i) {
        auto client = open(peer, options);
        const auto reply = run(getfd(*client, "state", null_device()));
        ASSERT_FALSE(reply);
        EXPECT_EQ(reply.error().code, ErrorCode::timeout);
        client.reset();
        if (i == 0) before = open_descriptors();
    }
    EXPECT_EQ(peer.finish(), "");
    EXPECT_LE(open_descriptors(), before);
}

TEST_F(QmpClient, RefusesTooManyDescriptors) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        p.expect_hang_up();
    });
    auto client = connect(peer);
    std::vector<UniqueFd> fds;
    for (std::size_t i = 0; i <= max_passed_fds; ++i) fds.push_back(null_device());
    const auto reply = run(client->execute(Request("add-fd", Json::object(), std::move(fds))));
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, ErrorCode::invalid_argument);
    EXPECT_TRUE(client->is_open());
    client.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, TakesNoDescriptorsFromQemu) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
    const UniqueFd server(ends[1]);
    Client client(context.get_executor(), UniqueFd(ends[0]));
    const auto before = open_descriptors();
    const std::array<int, 2> unasked = {STDIN_FILENO, STDERR_FILENO};
    const std::string_view greeting =
        R"({"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}}})"
        "\n";
    ASSERT_TRUE(send_with_fds(server.get(), greeting, unasked));
    context.restart();
    context.run_for(50ms);
    EXPECT_NE(client.greeting(), nullptr);
    EXPECT_EQ(open_descriptors(), before);
}

// --- resynchronisation
// ----------------------------------------------------------------------------

void answer_snapshot(ScriptedQmpPeer& p) {
    const auto status = p.expect("query-status");
    const auto version = p.expect("query-version");
    const auto block = p.expect("query-block");
    const auto migration = p.expect("query-migrate");
    p.say_event("STOP");
    p.answer(status, Json{{"status", "paused"}, {"running", false}});
    p.say_event("RESUME");
    p.answer(version, Json{{"qemu", {{"major", 7}, {"minor", 2}, {"micro", 22}}}, {"package", ""}});
    p.say_event("RESET", Json{{"guest", true}, {"reason", "guest-reset"}});
    p.answer(block, Json::array());
    p.answer(migration, Json::object());
}

TEST_F(QmpClient, ResyncSplitsTheEventsAtTheStatus) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        answer_snapshot(p);
        p.expect_hang_up();
    });
    auto resynced = run(connect_with_resync(peer.path(), patient()));
    ASSERT_TRUE(resynced) << resynced.error().message;
    EXPECT_EQ(resynced->snapshot.status.state, RunState::paused);
    EXPECT_EQ(resynced->snapshot.version.text(), "7.2.22");
    EXPECT_EQ(resynced->snapshot.migration.status, MigrationStatus::none);
    ASSERT_EQ(resynced->snapshot.earlier_events.size(), 1U);
    EXPECT_EQ(resynced->snapshot.earlier_events[0].name, "STOP");
    std::vector<std::string> events;
    resynced->client->set_event_handler([&](const Event& event) { events.push_back(event.name); });
    EXPECT_THAT(events, ElementsAre("RESUME", "RESET"));
    resynced->client.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, ResyncsAgainAfterQemuDroppedTheConnection) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        answer_snapshot(p);
        p.negotiate();
        answer_snapshot(p);
        p.expect_hang_up();
    });
    auto first = run(connect_with_resync(peer.path(), patient()));
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_EQ(run(first->client->wait_closed()).code, ErrorCode::qemu_failed);
    auto second = run(connect_with_resync(peer.path(), patient()));
    ASSERT_TRUE(second) << second.error().message;
    second->client.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, ResyncFailsAsAWhole) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        p.refuse(p.expect("query-status"), "GenericError", "no");
        for (int i = 0; i < 3; ++i) p.answer(p.read_command());
        p.expect_hang_up();
        p.accept();
        p.expect_hang_up();
    });
    const auto refused = run(connect_with_resync(peer.path(), patient()));
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("QMP query-status: no"));
    ClientOptions options;
    options.greeting_deadline = 30ms;
    const auto silent = run(connect_with_resync(peer.path(), options));
    ASSERT_FALSE(silent);
    EXPECT_EQ(silent.error().code, ErrorCode::timeout);
    EXPECT_EQ(peer.finish(), "");
}

}  // namespace
}  // namespace noxsup::qmp
