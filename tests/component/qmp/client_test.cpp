// The client against a scripted peer: late, split, silent, lying, flooding and vanishing servers.
#include "qmp/client.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>

#include "qmp/commands.hpp"
#include "qmp/resync.hpp"
#include "supervisor/base/async.hpp"
#include "supervisor/base/unix_socket.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/scripted_qmp_peer.hpp"

namespace noxsup::qmp {
namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;
using test::ScriptedQmpPeer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// For machines that compile at the same time; a test that wants a timeout asks for one.
ClientOptions patient() {
    ClientOptions options;
    options.greeting_deadline = 60s;
    options.command_deadline = 60s;
    return options;
}

struct QmpClient : ::testing::Test {
    asio::io_context context;

    std::unique_ptr<Client> connect(const ScriptedQmpPeer& peer,
                                    ClientOptions options = patient()) {
        auto client = run(Client::connect(peer.path(), options));
        if (!client) throw std::runtime_error(client.error().message);
        return std::move(*client);
    }
    std::unique_ptr<Client> open(const ScriptedQmpPeer& peer, ClientOptions options = patient()) {
        auto client = Client::open(context.get_executor(), peer.path(), options);
        if (!client) throw std::runtime_error(client.error().message);
        return std::move(*client);
    }
    template <class T>
    T run(asio::awaitable<T> operation) {
        return test::run_async(context, std::move(operation), 120s);
    }
};

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

// --- events -------------------------------------------------------------------------------------

/// Resident memory of this process in bytes.
std::size_t resident_bytes() {
    std::ifstream file("/proc/self/statm");
    std::size_t size = 0;
    std::size_t resident = 0;
    file >> size >> resident;
    return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

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
    const auto before = resident_bytes();
    EXPECT_EQ(run(ask()), rounds);
    EXPECT_EQ(next, rounds * events_a_round);
    EXPECT_TRUE(in_order);
#ifndef __SANITIZE_ADDRESS__  // which keeps freed memory for a while
    EXPECT_LT(resident_bytes(), before + (std::size_t{4} << 20));
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
    EXPECT_EQ(peer.finish(), "");
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
        p.answer(p.expect("getfd"));
        received += p.descriptors().size();
        p.descriptors().clear();
        p.answer(p.expect("add-fd"), Json{{"fdset-id", 7}, {"fd", 12}});
        received += p.descriptors().size();
        p.descriptors().clear();
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
