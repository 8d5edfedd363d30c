// The guest agent's client against a scripted agent: absent, late, confused, refusing and gone.
#include "qmp/guest_agent_client.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "supervisor/base/async.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/scripted_qmp_peer.hpp"

namespace noxsup::qmp {
namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;
using test::ScriptedQmpPeer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// For machines that compile at the same time; a test that wants a timeout asks for one.
GuestAgentOptions patient() {
    GuestAgentOptions options;
    options.command_deadline = 60s;
    return options;
}

struct GuestAgentClient : ::testing::Test {
    asio::io_context context;

    std::unique_ptr<GuestAgent> open(const ScriptedQmpPeer& peer,
                                     GuestAgentOptions options = patient()) {
        auto agent = GuestAgent::open(context.get_executor(), peer.path(), options);
        if (!agent) throw std::runtime_error(agent.error().message);
        return std::move(*agent);
    }
    template <class T>
    T run(asio::awaitable<T> operation) {
        return test::run_async(context, std::move(operation), 120s);
    }
};

/// Answers a synchronisation, as an agent with rubbish left in its port does.
void synchronise(ScriptedQmpPeer& p) {
    const auto command = p.expect("guest-sync-delimited");
    p.say(
        "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Invalid "
        "JSON\"}}\n\xff{\"return\": " +
        command.at("arguments").at("id").dump() + "}\n");
}

TEST_F(GuestAgentClient, PingsAndAsksForAddresses) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.accept();
        synchronise(p);
        p.answer(p.expect("guest-ping"));
        p.answer(p.expect("guest-network-get-interfaces"),
                 Json::parse(R"([{"name": "eth0", "hardware-address": "52:54:00:12:34:56",
                     "ip-addresses": [{"ip-address": "192.0.2.7", "ip-address-type": "ipv4", "prefix": 24}]}])"));
        p.expect_hang_up();
    });
    auto agent = open(peer);
    const auto pong = run(agent->ping());
    ASSERT_TRUE(pong) << pong.error().message;
    const auto interfaces = run(agent->network_interfaces());
    ASSERT_TRUE(interfaces) << interfaces.error().message;
    EXPECT_THAT(interfaces->at(0).addresses, ElementsAre("192.0.2.7/24"));
    agent.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(GuestAgentClient, AnAbsentAgentIsAClearTimeout) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.accept();
        p.expect("guest-sync-delimited");
        synchronise(p);
        p.answer(p.expect("guest-ping"));
        p.expect_hang_up();
    });
    GuestAgentOptions options;
    options.command_deadline = 50ms;
    auto agent = open(peer, options);
    const auto late = run(agent->ping());
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, ErrorCode::timeout);
    EXPECT_THAT(late.error().message, HasSubstr("no guest agent answered"));
    EXPECT_THAT(late.error().hint, HasSubstr("qemu-guest-agent"));
    // It has been started meanwhile.
    Request again("guest-ping");
    again.deadline = 60s;
    const auto pong = run(agent->execute(std::move(again)));
    EXPECT_TRUE(pong) << pong.error().message;
    agent.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(GuestAgentClient, RunsAProgram) {
    Json said;
    ScriptedQmpPeer peer([&](ScriptedQmpPeer& p) {
        p.accept();
        synchronise(p);
        const auto exec = p.expect("guest-exec");
        said = exec.at("arguments");
        p.answer(exec, Json{{"pid", 77}});
        const auto status = p.expect("guest-exec-status");
        p.answer(status, Json{{"exited", true}, {"exitcode", 0}, {"out-data", "aGkK"}});
        p.refuse(p.expect("guest-exec-status"), "GenericError", "PID 78 \x1b does not exist");
        p.expect_hang_up();
    });
    auto agent = open(peer);
    GuestProgram program;
    program.path = "/bin/cat";
    program.arguments = {"-"};
    program.environment = {"A=b"};
    program.input = "hi\n";
    const auto pid = run(agent->exec(program));
    ASSERT_TRUE(pid) << pid.error().message;
    EXPECT_EQ(*pid, 77);
    const auto status = run(agent->exec_status(*pid));
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_EQ(status->out, "hi\n");
    const auto unknown = run(agent->exec_status(78));
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().code, ErrorCode::guest_failed);
    EXPECT_EQ(unknown.error().message, "guest-exec-status: PID 78 \\x1b does not exist");
    agent.reset();
    EXPECT_EQ(peer.finish(), "");
    EXPECT_EQ(
        said.dump(),
        R"({"arg":["-"],"capture-output":true,"env":["A=b"],"input-data":"aGkK","path":"/bin/cat"})");
}

TEST_F(GuestAgentClient, ShutdownIsAcceptedBySilenceOrByTheEnd) {
    for (const bool closes : {false, true}) {
        ScriptedQmpPeer peer([closes](ScriptedQmpPeer& p) {
            p.accept();
            synchronise(p);
            p.answer(p.expect("guest-ping"));
            p.expect("guest-shutdown");
            if (closes) {
                p.hang_up();
            } else {
                p.expect_hang_up();
            }
        });
        auto options = patient();
        options.shutdown_patience = 50ms;
        auto agent = open(peer, options);
        const auto accepted = run(agent->shutdown());
        EXPECT_TRUE(accepted) << accepted.error().message;
        agent.reset();
        EXPECT_EQ(peer.finish(), "");
    }
}

TEST_F(GuestAgentClient, ShutdownOfAnAbsentAgentIsNoSuccess) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.accept();
        p.expect("guest-sync-delimited");
        p.expect_hang_up();
    });
    GuestAgentOptions options;
    options.command_deadline = 50ms;
    auto agent = open(peer, options);
    const auto result = run(agent->shutdown());
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::timeout);
    agent.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(GuestAgentClient, ARefusedShutdown) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.accept();
        synchronise(p);
        p.answer(p.expect("guest-ping"));
        p.refuse(p.expect("guest-shutdown"), "GenericError", "not allowed");
        p.expect_hang_up();
    });
    auto agent = open(peer);
    const auto result = run(agent->shutdown());
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message, "guest-shutdown: not allowed");
    agent.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(GuestAgentClient, CommandsInAQueueGoOnAfterOneWasGivenUp) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.accept();
        synchronise(p);
        const auto slow = p.expect("guest-slow");
        synchronise(p);
        p.answer(slow);
        p.answer(p.expect("guest-info"), 7);
        p.expect_hang_up();
    });
    auto agent = open(peer);
    TaskGroup tasks(context.get_executor());
    std::optional<ErrorCode> slow_code;
    Json info;
    auto slow = [&]() -> asio::awaitable<void> {
        Request request("guest-slow");
        request.deadline = 2s;
        const auto reply = co_await agent->execute(std::move(request));
        if (!reply) slow_code = reply.error().code;
    };
    auto ask = [&]() -> asio::awaitable<void> {
        Request request("guest-info");
        const auto reply = co_await agent->execute(std::move(request));
        if (reply) info = *reply;
    };
    tasks.spawn("slow", slow());
    tasks.spawn("info", ask());
    auto all = [&]() -> asio::awaitable<bool> {
        co_await tasks.join();
        co_return true;
    };
    run(all());
    EXPECT_EQ(slow_code, ErrorCode::timeout);
    EXPECT_EQ(info, 7);
    agent.reset();
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(GuestAgentClient, EndsItsWaitersWhenClosedOrDestroyed) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.accept();
        p.expect("guest-sync-delimited");
        p.expect_hang_up();
    });
    auto agent = open(peer);
    TaskGroup tasks(context.get_executor());
    std::optional<ErrorCode> code;
    auto ask = [&]() -> asio::awaitable<void> {
        const auto reply = co_await agent->network_interfaces();
        if (!reply) code = reply.error().code;
    };
    tasks.spawn("ask", ask());
    auto destroy = [&]() -> asio::awaitable<bool> {
        co_await sleep_for(10ms);
        agent->close();
        EXPECT_FALSE(agent->is_open());
        const auto after = co_await agent->ping();
        EXPECT_FALSE(after);
        agent.reset();
        co_await tasks.join();
        co_return true;
    };
    run(destroy());
    EXPECT_EQ(code, ErrorCode::interrupted);
    EXPECT_EQ(peer.finish(), "");
}

TEST_F(GuestAgentClient, NobodyListening) {
    const test::TempDir directory;
    const auto agent = GuestAgent::open(context.get_executor(), directory / "none");
    ASSERT_FALSE(agent);
    EXPECT_EQ(agent.error().code, ErrorCode::qemu_failed);
}

}  // namespace
}  // namespace noxsup::qmp
