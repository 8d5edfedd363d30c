#include "supervisor/control/server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/component/supervisor/control/running_server.hpp"

namespace noxsup::control {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class ControlServer : public RunningServer {
  protected:
    Result<ClientReply> call(Client& client, std::string method, Json params = Json::object(),
                             std::vector<int> fds = {}, CallListener listener = {}) {
        return run(
            client.call(std::move(method), std::move(params), std::move(fds), std::move(listener)));
    }

    /// Starts a call and runs until the handler sleeps.
    void begin_sleep(Client& client, std::optional<Result<ClientReply>>& outcome) {
        const auto before = sleeping_;
        group_.spawn("sleeper", sleep_into(client, outcome));
        ASSERT_TRUE(run_until([&] { return sleeping_ == before + 1; }));
    }

    asio::awaitable<Result<Reply>> stop_and_answer() {
        server_->stop();
        co_return Reply();
    }

    static asio::awaitable<void> sleep_into(Client& client,
                                            std::optional<Result<ClientReply>>& outcome) {
        Json params = Json::object();
        auto got = co_await client.call("sleep", std::move(params));
        outcome.emplace(std::move(got));
    }
};

TEST_F(ControlServer, SaysHelloAndAnswers) {
    const auto client = connected();
    EXPECT_EQ(client->server().version, "1.2.3");
    EXPECT_EQ(client->server().home, "/a/home");
    EXPECT_EQ(client->server().scope, "user");
    EXPECT_EQ(client->server().pid, ::getpid());
    const auto reply = call(*client, "echo", {{"a", "\xc3\xa4"}});
    ASSERT_TRUE(reply) << reply.error().message;
    EXPECT_EQ(reply->result, Json({{"a", "\xc3\xa4"}}));
}

TEST_F(ControlServer, GivesAnErrorWithAllItsParts) {
    const auto client = connected();
    const auto reply = call(*client, "fail");
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, ErrorCode::qemu_failed);
    EXPECT_EQ(reply.error().message, "start testvm");
    EXPECT_EQ(reply.error().hint, "noxsup logs testvm");
    EXPECT_EQ(reply.error().stage, "launch");
    EXPECT_THAT(reply.error().evidence, ElementsAre("qemu-system: no such machine"));
}

TEST_F(ControlServer, OutlivesAHandlerThatThrowsAndAnAnswerThatDoesNotFit) {
    const auto client = connected();
    EXPECT_EQ(call(*client, "throw").error().code, ErrorCode::failed);
    EXPECT_EQ(call(*client, "huge").error().code, ErrorCode::failed);
    EXPECT_EQ(call(*client, "nope").error().code, ErrorCode::protocol_mismatch);
    EXPECT_TRUE(call(*client, "echo"));
    EXPECT_EQ(server_->running_calls(), 0U);
}

TEST_F(ControlServer, TellsProgressStagesAndNotesBeforeTheAnswer) {
    const auto client = connected();
    std::vector<std::string> heard;
    CallListener listener;
    listener.on_progress = [&](const Progress& progress) {
        heard.push_back(progress.stage + " " + std::to_string(progress.done) + "/" +
                        std::to_string(progress.total) + progress.unit +
                        (progress.seconds ? " ended" : ""));
    };
    listener.on_note = [&](std::string_view text) { heard.emplace_back(text); };
    ASSERT_TRUE(call(*client, "stages", {}, {}, listener));
    EXPECT_THAT(heard, ElementsAre("disk 1/2bytes", "a note", "disk 0/0 ended"));
}

TEST_F(ControlServer, RunsCallsSideBySide) {
    const auto client = connected();
    std::optional<Result<ClientReply>> slow;
    begin_sleep(*client, slow);
    EXPECT_TRUE(call(*client, "echo"));
    EXPECT_FALSE(slow);
    EXPECT_EQ(server_->running_calls(), 1U);
    client->cancel_calls();
    ASSERT_TRUE(run_until([&] { return slow.has_value(); }));
}

TEST_F(ControlServer, CancelsACallOnRequestAndSaysInterrupted) {
    const auto client = connected();
    std::optional<Result<ClientReply>> outcome;
    begin_sleep(*client, outcome);
    client->cancel_calls();
    ASSERT_TRUE(run_until([&] { return outcome.has_value(); }));
    EXPECT_EQ(outcome->error().code, ErrorCode::interrupted);
    EXPECT_THAT(outcome->error().message, HasSubstr("woken early"));
    EXPECT_TRUE(cancelled_seen_);
    EXPECT_TRUE(call(*client, "echo")) << "the connection goes on";
}

TEST_F(ControlServer, CancelsTheCallsOfAConnectionThatCloses) {
    auto client = connected();
    std::optional<Result<ClientReply>> outcome;
    begin_sleep(*client, outcome);
    client->close();
    ASSERT_TRUE(run_until([&] { return sleeping_ == 0 && server_->connections() == 0; }));
    EXPECT_EQ(outcome->error().code, ErrorCode::interrupted);
    EXPECT_TRUE(cancelled_seen_);
}

TEST_F(ControlServer, ACancelledCallerLeavesAtOnceAndTheCallEnds) {
    const auto client = connected();
    TaskGroup callers(context_.get_executor());
    std::optional<Result<ClientReply>> outcome;
    callers.spawn("caller", sleep_into(*client, outcome));
    ASSERT_TRUE(run_until([&] { return sleeping_ == 1; }));
    callers.cancel();
    ASSERT_TRUE(run_until([&] { return callers.size() == 0 && sleeping_ == 0; }));
    EXPECT_TRUE(call(*client, "echo"));
}

TEST_F(ControlServer, DescriptorsGoBothWaysAndNoneIsLeft) {
    const auto file = directory_.write("image", "content of the image");
    const auto before = open_fds();
    {
        const auto client = connected();
        for (int round = 0; round < 20; ++round) {
            auto opened = open_file(file, O_RDONLY);
            ASSERT_TRUE(opened);
            const auto reply = call(*client, "read-file", {{"fd", 0}}, {opened->get()});
            ASSERT_TRUE(reply) << reply.error().message;
            EXPECT_EQ(reply->result["text"], "content of the image");
            const auto given = call(*client, "open-file", {{"count", 2}});
            ASSERT_TRUE(given);
            ASSERT_THAT(given->fds, SizeIs(2));
            struct stat status {};
            ASSERT_EQ(::fstat(given->fds[1].get(), &status), 0);
            EXPECT_TRUE(S_ISCHR(status.st_mode));
            // Passed, but neither taken by the handler nor wanted by the method.
            EXPECT_TRUE(call(*client, "echo", {}, {opened->get(), opened->get()}));
        }
        EXPECT_EQ(call(*client, "open-file", {{"count", 9}}).error().code, ErrorCode::failed);
        EXPECT_EQ(call(*client, "read-file").error().code, ErrorCode::invalid_argument);
    }
    ASSERT_TRUE(run_until([&] { return server_->connections() == 0; }));
    EXPECT_EQ(open_fds(), before);
}

TEST_F(ControlServer, ARequestBeyondTheLineLimitIsRefusedByTheClient) {
    const auto client = connected();
    const auto reply = call(*client, "echo", {{"text", std::string(max_result, 'x')}});
    EXPECT_EQ(reply.error().code, ErrorCode::invalid_argument);
    const auto fits = call(*client, "echo", {{"text", std::string(1000000, 'x')}});
    ASSERT_TRUE(fits) << fits.error().message;
    EXPECT_EQ(fits->result["text"].get_ref<const std::string&>().size(), 1000000U);
}

TEST_F(ControlServer, HundredConnectionsWorkAtOnce) {
    const auto before = open_fds();
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 100; ++i) clients.push_back(connected());
    EXPECT_EQ(server_->connections(), 100U);
    for (int i = 0; i < 100; ++i) {
        const auto reply = call(*clients[static_cast<std::size_t>(i)], "echo", {{"i", i}});
        ASSERT_TRUE(reply);
        EXPECT_EQ(reply->result["i"], i);
    }
    clients.clear();
    ASSERT_TRUE(run_until([&] { return server_->connections() == 0; }));
    EXPECT_EQ(open_fds(), before);
}

TEST_F(ControlServer, OneConnectionTooManyIsToldWhy) {
    ServerOptions options;
    options.max_connections = 2;
    restart(std::move(options));
    const auto first = connected();
    auto second = connected();
    const auto third = run(Client::connect(socket_));
    ASSERT_FALSE(third);
    EXPECT_THAT(third.error().message, HasSubstr("too many connections"));
    second.reset();
    ASSERT_TRUE(run_until([&] { return server_->connections() == 1; }));
    EXPECT_NE(connected(), nullptr);
}

TEST_F(ControlServer, OneCallTooManyIsRefused) {
    ServerOptions options;
    options.max_calls = 1;
    restart(std::move(options));
    const auto client = connected();
    std::optional<Result<ClientReply>> slow;
    begin_sleep(*client, slow);
    EXPECT_THAT(call(*client, "echo").error().message, HasSubstr("too many calls"));
    client->cancel_calls();
    ASSERT_TRUE(run_until([&] { return slow.has_value(); }));
}

TEST_F(ControlServer, AUserWhoMayNotIsToldSo) {
    ServerOptions options;
    options.allow = [](const PeerCredentials& peer) { return peer.uid != ::geteuid(); };
    restart(std::move(options));
    const auto client = run(Client::connect(socket_));
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().code, ErrorCode::host_lacks_right);
    EXPECT_FALSE(client.error().hint.empty());
}

TEST_F(ControlServer, AnIdleConnectionIsClosedAndABusyOneIsNot) {
    ServerOptions options;
    options.idle_timeout = 50ms;
    restart(std::move(options));
    const auto idle = connected();
    const auto busy = connected();
    std::optional<Result<ClientReply>> slow;
    begin_sleep(*busy, slow);
    ASSERT_TRUE(run_until([&] { return server_->connections() == 1; }));
    run(sleep_for(150ms));
    EXPECT_EQ(server_->connections(), 1U);
    EXPECT_FALSE(slow);
    EXPECT_EQ(call(*idle, "echo").error().code, ErrorCode::supervisor_unreachable);
    busy->cancel_calls();
    ASSERT_TRUE(run_until([&] { return slow.has_value(); }));
}

TEST_F(ControlServer, StopsFromAHandlerWhoseAnswerStillGoesOut) {
    server_->register_method("stop", [this](CallContext&, Json) { return stop_and_answer(); });
    const auto client = connected();
    const auto other = connected();
    std::optional<Result<ClientReply>> slow;
    begin_sleep(*other, slow);
    const auto reply = call(*client, "stop");
    EXPECT_TRUE(reply);
    ASSERT_TRUE(run_until([&] { return slow.has_value(); }));
    EXPECT_EQ(slow->error().code, ErrorCode::interrupted);
    ASSERT_TRUE(run_until([&] { return group_.size() == 0; }));
    EXPECT_EQ(server_->connections(), 0U);
    EXPECT_FALSE(run(Client::connect(socket_)));
    server_.reset();
}

TEST_F(ControlServer, EndsWhenItsCoroutineIsCancelled) {
    const auto client = connected();
    group_.cancel();
    ASSERT_TRUE(run_until([&] { return group_.size() == 0; }));
    EXPECT_EQ(call(*client, "echo").error().code, ErrorCode::supervisor_unreachable);
    server_.reset();
}

TEST_F(ControlServer, NobodyListeningIsUnreachable) {
    const auto absent = run(Client::connect(directory_ / "absent.sock"));
    EXPECT_EQ(absent.error().code, ErrorCode::supervisor_unreachable);
    { auto left_behind = listen_unix(directory_ / "stale.sock", 0600); }
    const auto stale = run(Client::connect(directory_ / "stale.sock"));
    EXPECT_EQ(stale.error().code, ErrorCode::supervisor_unreachable);
}

TEST_F(ControlServer, AListenerThatSaysNothingIsUnreachable) {
    const auto mute = listen_unix(directory_ / "mute.sock", 0600);
    ASSERT_TRUE(mute);
    const auto client = run(Client::connect(directory_ / "mute.sock", 50ms));
    EXPECT_EQ(client.error().code, ErrorCode::supervisor_unreachable);
    EXPECT_THAT(client.error().message, HasSubstr("does not answer"));
}

}  // namespace
}  // namespace noxsup::control
