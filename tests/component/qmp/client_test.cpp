// The client against a scripted peer: late, split, silent, lying servers, and replies of all sizes.
#include "qmp/client.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "qmp/commands.hpp"
#include "supervisor/base/async.hpp"
#include "tests/component/qmp/client_fixture.hpp"

namespace noxsup::qmp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// --- connecting ---------------------------------------------------------------------------------

TEST_F(QmpClient, ConnectsAndNegotiates) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        p.expect_hang_up();
    });
    auto client = connect(peer);
    ASSERT_NE(client->greeting(), nullptr);
    EXPECT_EQ(client->greeting()->version.text(), "7.2.22");
    EXPECT_TRUE(client->is_open());
    EXPECT_TRUE(run(client->wait_ready()));
    client.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, NobodyListening) {
    const test::TempDir directory;
    const auto client = run(Client::connect(directory / "none"));
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().code, ErrorCode::qemu_failed);
    EXPECT_THAT(client.error().message, HasSubstr("none"));
}

TEST_F(QmpClient, AGreetingThatNeverComesIsATimeoutAndNothingIsLeftBehind) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.accept();
        p.expect_hang_up();
    });
    ClientOptions options;
    options.greeting_deadline = 50ms;
    auto client = open(peer, options);
    // Nothing may lie in the socket of a QEMU that might wake up much later.
    const auto reply = run(cont(*client));
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, ErrorCode::timeout);
    EXPECT_THAT(reply.error().message, HasSubstr("did not greet"));
    EXPECT_FALSE(reply.error().hint.empty());
    EXPECT_EQ(client->session().in_flight(), 0U);
    client.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, ANegotiationWithoutAnAnswerIsATimeout) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.accept();
        p.greet();
        p.expect("qmp_capabilities");
        p.expect_hang_up();
    });
    ClientOptions options;
    options.greeting_deadline = 2s;
    const auto client = run(Client::connect(peer.path(), options));
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().code, ErrorCode::timeout);
    EXPECT_THAT(client.error().message, HasSubstr("qmp_capabilities"));
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, ARefusedNegotiation) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.accept();
        p.greet();
        p.refuse(p.expect("qmp_capabilities"), "GenericError", "not today");
        p.expect_hang_up();
    });
    const auto client = run(Client::connect(peer.path(), patient()));
    ASSERT_FALSE(client);
    EXPECT_THAT(client.error().message, HasSubstr("not today"));
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, ASlowGreetingInSingleBytes) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.accept();
        p.say_in_pieces(R"({"event": "NIC_RX_FILTER_CHANGED"})"
                        "\r\n"
                        R"({"QMP": {"version": {"qemu": {"micro": 1, "minor": 0, "major": 10}}}})"
                        "\r\n",
                        1);
        p.answer(p.expect("qmp_capabilities"));
        p.expect_hang_up();
    });
    auto client = connect(peer);
    EXPECT_EQ(client->greeting()->version.text(), "10.0.1");
    std::vector<std::string> events;
    client->set_event_handler([&](const Event& event) { events.push_back(event.name); });
    EXPECT_THAT(events, ElementsAre("NIC_RX_FILTER_CHANGED"));
    client.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, HangUpBeforeTheGreeting) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.accept();
        p.hang_up();
    });
    const auto client = run(Client::connect(peer.path(), patient()));
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().code, ErrorCode::qemu_failed);
    EXPECT_THAT(client.error().message, HasSubstr("closed the QMP connection"));
}

TEST_F(QmpClient, HangUpInTheMiddleOfALine) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        p.read_command();
        p.say(R"({"return": {"sta)");
        p.hang_up();
    });
    auto client = connect(peer);
    const auto status = run(query_status(*client));
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::qemu_failed);
    EXPECT_FALSE(client->is_open());
    const auto again = run(query_status(*client));
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, ErrorCode::qemu_failed);
    EXPECT_EQ(peer.finish(), "");
}

// --- commands -----------------------------------------------------------------------------------

TEST_F(QmpClient, TheFirstCommandsGoOutInOneWriteWithTheNegotiation) {
    std::string first_write;
    ScriptedQmpPeer peer([&](ScriptedQmpPeer& p) {
        p.accept();
        std::this_thread::sleep_for(50ms);
        p.greet();
        p.answer(p.expect("qmp_capabilities"));
        first_write = p.reads().at(0);
        p.answer(p.expect("query-status"), Json{{"status", "running"}, {"running", true}});
        p.answer(p.expect("query-balloon"), Json{{"actual", 1024}});
        p.expect_hang_up();
    });
    auto client = open(peer);
    std::vector<Request> requests;
    requests.emplace_back("query-status");
    requests.emplace_back("query-balloon");
    const auto replies = run(client->request_all(std::move(requests)));
    ASSERT_TRUE(replies) << replies.error().message;
    EXPECT_EQ(replies->at(0).value["status"], "running");
    EXPECT_EQ(replies->at(1).value["actual"], 1024);
    client.reset();
    EXPECT_EQ(peer.finish(), "");
    EXPECT_THAT(first_write, HasSubstr("query-balloon"));
}

TEST_F(QmpClient, ManyCommandsAreUnderWayAndAnsweredOutOfOrder) {
    constexpr int count = 100;
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        std::vector<Json> commands(count);
        for (auto& command : commands) command = p.read_command();
        for (auto it = commands.rbegin(); it != commands.rend(); ++it) {
            p.say_event("STOP");
            p.say(R"({"return": "stranger", "id": 999999})"
                  "\r\n");
            p.answer(*it, it->at("arguments"));
        }
        p.expect_hang_up();
    });
    auto client = connect(peer);
    std::size_t events = 0;
    client->set_event_handler([&](const Event&) { ++events; });
    TaskGroup tasks(context.get_executor());
    int right = 0;
    auto ask = [&](int number) -> asio::awaitable<void> {
        Json arguments{{"n", number}};
        const auto reply = co_await client->execute(Request("echo", arguments));
        if (reply && *reply == arguments) ++right;
    };
    for (int i = 0; i < count; ++i) tasks.spawn("ask", ask(i));
    auto all = [&]() -> asio::awaitable<bool> {
        co_await tasks.join();
        co_return true;
    };
    run(all());
    EXPECT_EQ(right, count);
    EXPECT_EQ(events, static_cast<std::size_t>(count));
    EXPECT_EQ(client->session().dropped(), static_cast<std::size_t>(count));
    client.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, ACommandWithoutAnAnswerIsATimeoutAndItsLateReplyIsDropped) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        const auto first = p.expect("stop");
        const auto second = p.expect("query-status");
        p.answer(first);
        p.answer(second, Json{{"status", "paused"}, {"running", false}});
        p.expect_hang_up();
    });
    auto client = connect(peer);
    Request request("stop");
    request.deadline = 30ms;
    const auto late = run(client->execute(std::move(request)));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, ErrorCode::timeout);
    EXPECT_THAT(late.error().message, HasSubstr("QMP stop: QEMU did not answer in time"));
    const auto status = run(query_status(*client));
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_EQ(status->state, RunState::paused);
    EXPECT_EQ(client->session().dropped(), 1U);
    client.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, ARefusalIsAnErrorOrAReply) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        for (int i = 0; i < 2; ++i) p.refuse(p.read_command(), "DeviceNotFound", "no \x1b[1mx");
        p.expect_hang_up();
    });
    auto client = connect(peer);
    const auto error = run(device_del(*client, "x"));
    ASSERT_FALSE(error);
    EXPECT_EQ(error.error().code, ErrorCode::qemu_failed);
    EXPECT_EQ(error.error().message, "QMP device_del: no \\x1b[1mx");
    const auto reply = run(client->request(Request("device_del")));
    ASSERT_TRUE(reply && reply->error);
    EXPECT_EQ(reply->error->error_class, "DeviceNotFound");
    client.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, CancellationEndsOneCommandOnly) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        const auto cancelled = p.expect("stop");
        const auto kept = p.expect("query-status");
        p.answer(cancelled);
        p.answer(kept, Json{{"status", "running"}, {"running", true}});
        p.expect_hang_up();
    });
    auto client = connect(peer);
    TaskGroup tasks(context.get_executor());
    std::optional<Error> seen;
    auto cancelled = [&]() -> asio::awaitable<void> {
        const auto reply = co_await stop(*client);
        if (!reply) seen = reply.error();
    };
    tasks.spawn("stop", cancelled());
    auto rest = [&]() -> asio::awaitable<bool> {
        co_await sleep_for(20ms);
        tasks.cancel();
        co_await tasks.join();
        const auto status = co_await query_status(*client);
        co_return status && status->running;
    };
    EXPECT_TRUE(run(rest()));
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->code, ErrorCode::interrupted);
    client.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, WorksUnderWithDeadline) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        p.expect("query-status");
        p.expect_hang_up();
    });
    auto client = connect(peer);
    Error late(ErrorCode::timeout, "late");
    const auto status = run(with_deadline(query_status(*client), 30ms, std::move(late)));
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().message, "late");
    EXPECT_EQ(client->session().in_flight(), 0U);
    client.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, WritesMoreThanTheSocketTakes) {
    const std::string big(std::size_t{2} << 20, 'x');
    ScriptedQmpPeer peer([&](ScriptedQmpPeer& p) {
        p.negotiate();
        std::this_thread::sleep_for(50ms);
        const auto command = p.read_command();
        p.answer(command, command.at("arguments").at("text").get<std::string>().size());
        p.expect_hang_up();
    });
    auto client = connect(peer);
    Json arguments{{"text", big}};
    const auto reply = run(client->execute(Request("echo", std::move(arguments))));
    ASSERT_TRUE(reply) << reply.error().message;
    EXPECT_EQ(*reply, big.size());
    client.reset();
    EXPECT_EQ(peer.finish(), "");
}

// --- replies of all sizes
// -------------------------------------------------------------------------

TEST_F(QmpClient, AReplyOfOneMebibyte) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        p.answer(p.read_command(), std::string(std::size_t{1} << 20, 'x'));
        p.expect_hang_up();
    });
    auto client = connect(peer);
    const auto reply = run(client->execute(Request("query-qmp-schema")));
    ASSERT_TRUE(reply) << reply.error().message;
    EXPECT_EQ(reply->get_ref<const std::string&>().size(), std::size_t{1} << 20);
    EXPECT_LE(client->session().framer().capacity(), std::size_t{64} << 10);
    client.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(QmpClient, AReplyBeyondSixteenMebibytesIsRefused) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        p.read_command();
        // Never ends: without the cap it would fill the memory. It throws when the client has left.
        const std::string piece(std::size_t{1} << 20, ' ');
        for (int i = 0; i < 1000; ++i) p.say(piece);
    });
    auto client = connect(peer);
    std::string why;
    client->set_closed_handler([&](const Error& error) { why = error.message; });
    const auto reply = run(client->execute(Request("query-qmp-schema")));
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, ErrorCode::protocol_error);
    EXPECT_THAT(reply.error().message, HasSubstr("longer than the limit of 16777216 bytes"));
    EXPECT_EQ(why, reply.error().message);
    EXPECT_FALSE(client->is_open());
    EXPECT_LE(client->session().framer().capacity(), std::size_t{64} << 10);
    EXPECT_EQ(peer.finish(), "the client closed its end");
}

TEST_F(QmpClient, NonsenseEndsTheConnection) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        p.read_command();
        p.say("HTTP/1.1 200 OK\r\n");
        p.expect_hang_up();
    });
    auto client = connect(peer);
    const auto reply = run(query_status(*client));
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, ErrorCode::protocol_error);
    EXPECT_EQ(peer.finish(), "");
}

}  // namespace
}  // namespace noxsup::qmp
