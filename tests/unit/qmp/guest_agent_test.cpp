#include "qmp/guest_agent.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "supervisor/base/text.hpp"

namespace noxsup::qmp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::vector<std::string> steps(AgentSession& session) {
    std::vector<std::string> words;
    while (const auto step = session.next()) {
        if (const auto* ended = std::get_if<Ended>(&*step)) {
            words.push_back("ended: " + ended->why.message);
            continue;
        }
        const auto& answer = std::get<AgentAnswer>(*step);
        const auto& reply = answer.reply;
        words.push_back(std::to_string(answer.id) + " " +
                        (!reply         ? "failed: " + reply.error().message
                         : reply->error ? "refused: " + reply->error->description
                                        : dump_json(reply->value)));
    }
    return words;
}

std::string written(AgentSession& session) {
    std::string all;
    for (auto out = session.output(); !out.bytes.empty(); out = session.output()) {
        all += out.bytes;
        session.sent(out.bytes.size());
    }
    return all;
}

/// Reads the number out of a synchronisation and answers it.
std::string sync_answer(const std::string& sent) {
    const auto command = Json::parse(sent.substr(1));
    return "\xff{\"return\": " + command.at("arguments").at("id").dump() + "}\n";
}

/// A session whose agent has answered the first synchronisation; "guest-ping" with id 1 is written.
AgentSession synchronised() {
    AgentSession session(41);
    session.submit(Request("guest-ping"));
    session.receive(sync_answer(written(session)));
    EXPECT_THAT(steps(session), IsEmpty());
    EXPECT_TRUE(session.synchronised());
    EXPECT_EQ(written(session), "{\"execute\":\"guest-ping\",\"id\":1}\n");
    return session;
}

TEST(AgentSession, WritesNothingUntilAskedAndThenSynchronises) {
    AgentSession session(41);
    EXPECT_EQ(written(session), "");
    session.submit(Request("guest-ping"));
    const auto sent = written(session);
    EXPECT_THAT(sent, StartsWith("\xff{"));
    EXPECT_THAT(sent, HasSubstr("\"guest-sync-delimited\""));
    EXPECT_THAT(sent, HasSubstr("42"));
    EXPECT_EQ(written(session), "");
}

TEST(AgentSession, AnswersWithAndWithoutId) {
    auto session = synchronised();
    session.receive("{\"return\": {}}\n");
    EXPECT_THAT(steps(session), ElementsAre("1 {}"));
    session.submit(Request("guest-info"));
    EXPECT_EQ(written(session), "{\"execute\":\"guest-info\",\"id\":2}\n");
    session.receive("{\"return\": {}, \"id\": 1}\n{\"return\": 7, \"id\": 2}\n");
    EXPECT_THAT(steps(session), ElementsAre("2 7"));
    EXPECT_EQ(session.in_flight(), 0U);
}

TEST(AgentSession, SendsOneCommandAtATime) {
    auto session = synchronised();
    session.submit(Request("guest-exec-status", Json{{"pid", 7}}));
    session.submit(Request("guest-info"));
    EXPECT_EQ(written(session), "");
    session.receive("{\"return\": {}}\n");
    EXPECT_THAT(steps(session), ElementsAre("1 {}"));
    EXPECT_THAT(written(session), HasSubstr("{\"pid\":7}"));
    session.receive("{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such process\"}}\n");
    EXPECT_THAT(steps(session), ElementsAre("2 refused: no such process"));
    EXPECT_THAT(written(session), HasSubstr("guest-info"));
}

TEST(AgentSession, ThrowsAwayWhatLiesInThePort) {
    AgentSession session(41);
    session.submit(Request("guest-ping"));
    const auto sync = sync_answer(written(session));
    session.receive("{\"return\": {\"stale\": true}, \"id\": 1}\n");
    session.receive(
        "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Invalid JSON syntax\"}}\n");
    session.receive("half a li\xff{\"return\": 7}\n");  // the answer to somebody's older question
    session.receive("\xff{\"error\": {\"class\": \"a\", \"desc\": \"b\"}}\n\xff not json\n");
    EXPECT_THAT(steps(session), IsEmpty());
    EXPECT_FALSE(session.synchronised());
    session.receive("rubbish" + sync);
    EXPECT_THAT(steps(session), IsEmpty());
    EXPECT_TRUE(session.synchronised());
}

TEST(AgentSession, TheAnswerMayComeInAnyPieces) {
    const std::string_view reply = "{\"return\": {\"a\": 1}}\r\n";
    AgentSession first(41);
    first.submit(Request("guest-ping"));
    auto stream = "x\xff\n" + sync_answer(written(first)).substr(1);
    for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
        AgentSession session(41);
        session.submit(Request("guest-ping"));
        written(session);
        session.receive(stream.substr(0, cut));
        EXPECT_THAT(steps(session), IsEmpty());
        session.receive(stream.substr(cut));
        EXPECT_THAT(steps(session), IsEmpty());
        ASSERT_TRUE(session.synchronised()) << cut;
        written(session);
        session.receive(reply);
        EXPECT_THAT(steps(session), ElementsAre("1 {\"a\":1}"));
    }
}

TEST(AgentSession, ACommandThatWasGivenUpCostsASynchronisation) {
    auto session = synchronised();
    session.submit(Request("guest-info"));
    session.forget(1);
    const auto again = written(session);
    EXPECT_THAT(again, HasSubstr("guest-sync-delimited"));
    EXPECT_THAT(again, HasSubstr("43"));
    session.receive("{\"return\": \"late\", \"id\": 1}\n" + sync_answer(again));
    EXPECT_THAT(steps(session), IsEmpty());
    EXPECT_THAT(written(session), HasSubstr("guest-info"));
    session.receive("{\"return\": 1}\n");
    EXPECT_THAT(steps(session), ElementsAre("2 1"));
}

TEST(AgentSession, ACommandThatTheGuestHasNotBegunToReadIsTakenBack) {
    auto session = synchronised();
    session.receive("{\"return\": {}}\n");
    steps(session);
    const auto id = session.submit(Request("guest-shutdown"));
    EXPECT_THAT(session.output().bytes, HasSubstr("guest-shutdown"));
    session.forget(id);
    EXPECT_EQ(session.output().bytes, "");
    const auto queued = session.submit(Request("guest-shutdown"));
    session.forget(queued);
    EXPECT_EQ(session.output().bytes, "");
}

TEST(AgentSession, AQuestionThatWasNotAnsweredIsAskedAgain) {
    AgentSession session(41);
    const auto id = session.submit(Request("guest-ping"));
    EXPECT_THAT(written(session), HasSubstr("42"));
    session.forget(id);
    session.submit(Request("guest-ping"));
    const auto again = written(session);
    EXPECT_THAT(again, HasSubstr("43"));
    session.receive("\xff{\"return\": 42}\n" + sync_answer(again));
    EXPECT_THAT(steps(session), IsEmpty());
    EXPECT_TRUE(session.synchronised());
}

TEST(AgentSession, ResyncAsksAgain) {
    auto session = synchronised();
    session.resync();  // of no effect while a command is under way
    EXPECT_TRUE(session.synchronised());
    session.receive("{\"return\": {}}\n");
    steps(session);
    session.resync();
    session.submit(Request("guest-ping"));
    EXPECT_THAT(written(session), HasSubstr("guest-sync-delimited"));
}

TEST(AgentSession, NonsenseFailsTheCommandAndNotTheConnection) {
    for (const auto* line : {"nonsense\n", "{\"event\": \"STOP\"}\n", "{\"QMP\": {}}\n", "[]\n"}) {
        auto session = synchronised();
        session.receive(line);
        EXPECT_THAT(steps(session), ElementsAre("1 failed: the guest agent sent what is no reply"));
        EXPECT_FALSE(session.ended());
        EXPECT_FALSE(session.synchronised());
        session.submit(Request("guest-ping"));
        EXPECT_THAT(written(session), HasSubstr("guest-sync-delimited"));
    }
}

TEST(AgentSession, AFloodFailsTheCommandAndNotTheConnection) {
    AgentSession session(41, 1000);
    session.submit(Request("guest-ping"));
    session.receive(sync_answer(written(session)));
    steps(session);
    written(session);
    session.receive(std::string(5000, 'x'));
    EXPECT_THAT(steps(session), ElementsAre("1 failed: the guest agent sent what is no reply"));
    session.submit(Request("guest-info"));
    const auto sync = written(session);
    session.receive(std::string(500, 'x') + sync_answer(sync));
    EXPECT_THAT(steps(session), IsEmpty());
    EXPECT_THAT(written(session), HasSubstr("guest-info"));
    // Unasked for it costs nothing at all.
    session.receive("{\"return\": 1}\n\n{\"return\": 2}\n");
    EXPECT_THAT(steps(session), ElementsAre("2 1"));
}

TEST(AgentSession, TheEndOfThePortEndsAllCommands) {
    auto session = synchronised();
    session.submit(Request("guest-info"));
    session.receive("{\"return\": {}}\n{\"ret");
    session.end_of_stream();
    EXPECT_THAT(steps(session), ElementsAre("1 {}", "2 failed: the guest agent's port was closed",
                                            "ended: the guest agent's port was closed"));
    session.end_of_stream();
    session.receive("{\"return\": {}}\n");
    EXPECT_THAT(steps(session), IsEmpty());
    const auto id = session.submit(Request("guest-info"));
    EXPECT_THAT(steps(session), ElementsAre("3 failed: the guest agent's port was closed"));
    session.submit(Request("guest-info"));
    session.forget(id + 1);
    EXPECT_THAT(steps(session), IsEmpty());
    EXPECT_EQ(written(session), "");
}

TEST(GuestAgentValues, ReadsInterfaces) {
    const auto interfaces = parse_guest_interfaces(Json::parse(R"([
        {"name": "lo", "ip-addresses": [{"ip-address-type": "ipv4", "ip-address": "127.0.0.1", "prefix": 8}],
         "hardware-address": "00:00:00:00:00:00"},
        {"name": "sit0"}])"));
    ASSERT_TRUE(interfaces) << interfaces.error().message;
    EXPECT_EQ(interfaces->at(0).mac, "00:00:00:00:00:00");
    EXPECT_THAT(interfaces->at(0).addresses, ElementsAre("127.0.0.1/8"));
    EXPECT_THAT(interfaces->at(1).addresses, IsEmpty());
    for (const auto* text :
         {"{}", "[{}]", R"([{"name": "a", "hardware-address": 1}])",
          R"([{"name": "a", "ip-addresses": {}}])", R"([{"name": "a", "ip-addresses": [1]}])",
          R"([{"name": "a", "ip-addresses": [{"ip-address": "x", "prefix": 999}]}])"}) {
        EXPECT_FALSE(parse_guest_interfaces(Json::parse(text))) << text;
    }
}

TEST(GuestAgentValues, ReadsTheEndOfAProgram) {
    const auto status = parse_guest_exec_status(Json::parse(
        R"({"exited": true, "exitcode": 3, "out-data": "aGkK", "err-data": "", "err-truncated": true})"));
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_TRUE(status->exited);
    EXPECT_EQ(status->exit_code, 3);
    EXPECT_FALSE(status->signal);
    EXPECT_EQ(status->out, "hi\n");
    EXPECT_TRUE(status->truncated);
    const auto killed = parse_guest_exec_status(Json::parse(R"({"exited": true, "signal": 9})"));
    ASSERT_TRUE(killed);
    EXPECT_EQ(killed->signal, 9);
    for (const auto* text :
         {"{}", R"({"exited": 1})", R"({"exited": true, "exitcode": "x"})",
          R"({"exited": true, "signal": "x"})", R"({"exited": true, "out-data": "a"})",
          R"({"exited": true, "out-data": 1})", R"({"exited": true, "out-truncated": 1})",
          R"({"exited": true, "err-truncated": 1})"}) {
        EXPECT_FALSE(parse_guest_exec_status(Json::parse(text))) << text;
    }
}

}  // namespace
}  // namespace noxsup::qmp
