#include "qmp/session.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "supervisor/base/text.hpp"

namespace noxsup::qmp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::string_view greeting =
    R"({"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}})"
    "\r\n";

/// All steps there are, in words: "ready", "event STOP", "1 {...}", "1 error: ...", "ended: ...".
std::vector<std::string> steps(Session& session) {
    std::vector<std::string> words;
    while (const auto step = session.next()) {
        if (std::holds_alternative<Ready>(*step)) {
            words.emplace_back("ready");
        } else if (const auto* event = std::get_if<Event>(&*step)) {
            words.push_back("event " + event->name);
        } else if (const auto* answer = std::get_if<Answer>(&*step)) {
            const auto& reply = answer->reply;
            const auto text = !reply         ? "failed: " + reply.error().message
                              : reply->error ? "refused: " + reply->error->description
                                             : dump_json(reply->value);
            words.push_back(std::to_string(answer->id) + " " + text);
        } else {
            words.push_back("ended: " + std::get<Ended>(*step).why.message);
        }
    }
    return words;
}

/// Everything there is to write, as if the socket took it all.
std::string written(Session& session) {
    std::string all;
    for (auto out = session.output(); !out.bytes.empty(); out = session.output()) {
        all += out.bytes;
        session.sent(out.bytes.size());
    }
    return all;
}

std::string reply_to(CommandId id, std::string_view value = "{}") {
    return R"({"return": )" + std::string(value) + R"(, "id": )" + std::to_string(id) + "}\r\n";
}

/// A session past its negotiation. The id of qmp_capabilities is 1.
Session ready_session() {
    Session session;
    session.receive(greeting);
    EXPECT_THAT(steps(session), IsEmpty());
    EXPECT_EQ(written(session), R"({"execute":"qmp_capabilities","id":1})"
                                "\n");
    session.receive(reply_to(1));
    EXPECT_THAT(steps(session), ElementsAre("ready"));
    return session;
}

UniqueFd null_device() {
    return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

Request with_fd(std::string name) {
    std::vector<UniqueFd> fds;
    fds.push_back(null_device());
    return Request(std::move(name), Json{{"fdname", "f"}}, std::move(fds));
}

TEST(Session, WritesNothingBeforeTheGreeting) {
    Session session;
    session.submit(Request("cont"));
    EXPECT_EQ(written(session), "");
    session.receive(greeting.substr(0, 40));
    EXPECT_THAT(steps(session), IsEmpty());
    EXPECT_EQ(written(session), "");
    EXPECT_EQ(session.greeting(), nullptr);
}

TEST(Session, WritesTheFirstCommandsTogetherWithTheNegotiation) {
    Session session;
    const auto first = session.submit(Request("query-status"));
    const auto second = session.submit(Request("query-block"));
    session.receive(greeting);
    EXPECT_THAT(steps(session), IsEmpty());
    const auto out = std::string(session.output().bytes);
    EXPECT_THAT(split(trim(out), '\n'), ElementsAre(R"({"execute":"qmp_capabilities","id":3})",
                                                    R"({"execute":"query-status","id":1})",
                                                    R"({"execute":"query-block","id":2})"));
    session.sent(out.size());
    session.receive(reply_to(3) + reply_to(first, R"({"running": true})") + reply_to(second, "[]"));
    EXPECT_THAT(steps(session), ElementsAre("ready", R"(1 {"running":true})", "2 []"));
    EXPECT_TRUE(session.ready());
    EXPECT_EQ(session.greeting()->version.text(), "7.2.22");
    EXPECT_EQ(session.in_flight(), 0U);
}

TEST(Session, SendsArgumentsOnlyWhereThereAreSome) {
    auto session = ready_session();
    session.submit(Request("device_del", Json{{"id", "a\"b"}}));
    EXPECT_EQ(written(session), R"({"arguments":{"id":"a\"b"},"execute":"device_del","id":2})"
                                "\n");
}

TEST(Session, ResumesAWriteTheSocketTookInPart) {
    auto session = ready_session();
    session.submit(Request("stop"));
    const auto whole = std::string(session.output().bytes);
    session.sent(5);
    session.submit(Request("cont"));
    EXPECT_EQ(session.output().bytes, whole.substr(5));
    session.sent(0);
    session.sent(whole.size() - 5);
    EXPECT_EQ(session.output().bytes, R"({"execute":"cont","id":3})"
                                      "\n");
}

TEST(Session, DeliversEventsInEveryState) {
    Session session;
    session.receive(R"({"event": "NIC_RX_FILTER_CHANGED"})"
                    "\n");
    EXPECT_THAT(steps(session), ElementsAre("event NIC_RX_FILTER_CHANGED"));
    session.receive(greeting);
    session.receive(R"({"event": "STOP"})"
                    "\n");
    EXPECT_THAT(steps(session), ElementsAre("event STOP"));
    written(session);
    session.receive(R"({"event": "RESUME"})"
                    "\n" +
                    reply_to(1) +
                    R"({"event": "RESET"})"
                    "\n");
    EXPECT_THAT(steps(session), ElementsAre("event RESUME", "ready", "event RESET"));
}

TEST(Session, MatchesRepliesByIdOnly) {
    auto session = ready_session();
    session.submit(Request("stop"));
    session.submit(Request("cont"));
    written(session);
    session.receive(reply_to(3, "\"c\"") +
                    R"({"event": "RESUME"})"
                    "\n" +
                    reply_to(2, "\"s\""));
    EXPECT_THAT(steps(session), ElementsAre("3 \"c\"", "event RESUME", "2 \"s\""));
}

TEST(Session, CountsTheEventsBeforeAReply) {
    auto session = ready_session();
    session.submit(Request("query-status"));
    written(session);
    session.receive(R"({"event": "A"})"
                    "\n"
                    R"({"event": "B"})"
                    "\n" +
                    reply_to(2));
    session.next();
    session.next();
    const auto step = session.next();
    ASSERT_TRUE(step);
    EXPECT_EQ(std::get<Answer>(*step).reply->events_before, 2U);
}

TEST(Session, DropsRepliesThatBelongToNothing) {
    auto session = ready_session();
    session.submit(Request("stop"));
    session.receive(reply_to(2));  // not written yet, so it cannot be the answer
    EXPECT_THAT(steps(session), IsEmpty());
    written(session);
    session.receive(reply_to(1) + reply_to(99) +
                    R"({"return": {}})"
                    "\n"
                    R"({"return": {}, "id": "2"})"
                    "\n"
                    R"({"error": {"class": "GenericError", "desc": "JSON parse error"}})"
                    "\n" +
                    std::string(greeting));
    EXPECT_THAT(steps(session), IsEmpty());
    EXPECT_EQ(session.dropped(), 7U);
    session.receive(reply_to(2) + reply_to(2));
    EXPECT_THAT(steps(session), ElementsAre("2 {}"));
    EXPECT_EQ(session.dropped(), 8U);
}

TEST(Session, PassesARefusalOn) {
    auto session = ready_session();
    session.submit(Request("device_del", Json{{"id", "x"}}));
    written(session);
    session.receive(
        R"({"id": 2, "error": {"class": "DeviceNotFound", "desc": "Device 'x' not found"}})"
        "\n");
    EXPECT_THAT(steps(session), ElementsAre("2 refused: Device 'x' not found"));
    EXPECT_FALSE(session.ended());
}

TEST(Session, ARefusedNegotiationEndsIt) {
    Session session;
    session.submit(Request("stop"));
    session.receive(greeting);
    steps(session);
    written(session);
    session.receive(R"({"id": 2, "error": {"class": "GenericError", "desc": "no"}})"
                    "\n");
    EXPECT_THAT(steps(session), ElementsAre("1 failed: QMP qmp_capabilities: no",
                                            "ended: QMP qmp_capabilities: no"));
    EXPECT_TRUE(session.ended());
}

TEST(Session, EndOfStreamEndsEveryCommand) {
    auto session = ready_session();
    session.submit(Request("stop"));
    session.submit(Request("cont"));
    written(session);
    session.submit(Request("query-status"));
    session.receive(R"({"event": "STOP"})"
                    "\n" +
                    reply_to(2) + R"({"event": "RES)");
    session.end_of_stream();
    EXPECT_THAT(steps(session),
                ElementsAre("event STOP", "2 {}", "3 failed: QEMU closed the QMP connection",
                            "4 failed: QEMU closed the QMP connection",
                            "ended: QEMU closed the QMP connection"));
    EXPECT_EQ(session.output().bytes, "");
    session.end_of_stream();
    session.close(Error{ErrorCode::failed, "again"});
    session.receive(reply_to(3));
    EXPECT_THAT(steps(session), IsEmpty());
}

TEST(Session, ACommandAfterTheEndFailsAtOnce) {
    Session session;
    session.end_of_stream();
    EXPECT_THAT(steps(session), ElementsAre("ended: QEMU closed the QMP connection"));
    session.submit(Request("stop"));
    EXPECT_EQ(session.output().bytes, "");
    EXPECT_THAT(steps(session), ElementsAre("1 failed: QEMU closed the QMP connection"));
}

TEST(Session, QuitIsAnsweredByTheEnd) {
    auto session = ready_session();
    session.submit(Request("quit"));
    written(session);
    session.receive(R"({"event": "SHUTDOWN", "data": {"guest": false, "reason": "host-qmp-quit"}})"
                    "\n");
    session.end_of_stream();
    EXPECT_THAT(steps(session),
                ElementsAre("event SHUTDOWN", "2 {}", "ended: QEMU closed the QMP connection"));
}

TEST(Session, QuitMayBeAnsweredByAReplyToo) {
    auto session = ready_session();
    session.submit(Request("quit"));
    written(session);
    session.receive(R"({"event": "SHUTDOWN"})"
                    "\n" +
                    reply_to(2));
    session.end_of_stream();
    EXPECT_THAT(steps(session),
                ElementsAre("event SHUTDOWN", "2 {}", "ended: QEMU closed the QMP connection"));
}

TEST(Session, AQuitThatWasNeverSentIsNotAnswered) {
    Session session;
    session.submit(Request("quit"));
    session.end_of_stream();
    EXPECT_THAT(steps(session), ElementsAre("1 failed: QEMU closed the QMP connection",
                                            "ended: QEMU closed the QMP connection"));
}

TEST(Session, CloseOnOurSideIsNoAnswerToQuit) {
    auto session = ready_session();
    session.submit(Request("quit"));
    written(session);
    session.close(Error{ErrorCode::interrupted, "closed"});
    EXPECT_THAT(steps(session), ElementsAre("2 failed: closed", "ended: closed"));
}

TEST(Session, NonsenseEndsItWithAProtocolError) {
    auto session = ready_session();
    session.submit(Request("stop"));
    written(session);
    session.receive("\r\n\n[1, 2]\n" + reply_to(2));
    const auto step = session.next();
    ASSERT_TRUE(step);
    ASSERT_FALSE(std::get<Answer>(*step).reply);
    EXPECT_EQ(std::get<Answer>(*step).reply.error().code, ErrorCode::protocol_error);
    EXPECT_THAT(steps(session), ElementsAre(HasSubstr("ended: read a QMP message")));
}

TEST(Session, ALineBeyondTheLimitEndsIt) {
    Session session(std::size_t{1} << 10);
    session.submit(Request("stop"));
    session.receive(greeting);
    steps(session);
    session.receive(std::string(2000, ' '));
    EXPECT_THAT(steps(session), ElementsAre(HasSubstr("longer than the limit of 1024 bytes"),
                                            HasSubstr("longer than the limit of 1024 bytes")));
}

TEST(Session, AForgottenCommandIsNotSentAnyMore) {
    Session session;
    const auto first = session.submit(Request("cont"));
    session.submit(Request("query-status"));
    session.forget(first);
    session.receive(greeting);
    steps(session);
    const auto out = written(session);
    EXPECT_THAT(out, HasSubstr("query-status"));
    EXPECT_THAT(out, ::testing::Not(HasSubstr("cont")));
}

TEST(Session, TheReplyToAForgottenCommandIsDropped) {
    auto session = ready_session();
    const auto id = session.submit(Request("stop"));
    written(session);
    session.forget(id);
    session.receive(reply_to(id));
    EXPECT_THAT(steps(session), IsEmpty());
    EXPECT_EQ(session.dropped(), 1U);
    EXPECT_EQ(session.in_flight(), 0U);
}

TEST(Session, AnAnswerNobodyFetchedCanBeForgotten) {
    auto session = ready_session();
    const auto id = session.submit(Request("stop"));
    session.end_of_stream();
    session.forget(id);
    EXPECT_THAT(steps(session), ElementsAre("ended: QEMU closed the QMP connection"));
}

TEST(Session, DescriptorsRideOnTheFirstByteOfTheirCommand) {
    auto session = ready_session();
    session.submit(Request("stop"));
    session.submit(with_fd("getfd"));
    session.submit(Request("cont"));
    auto out = session.output();
    EXPECT_THAT(out.bytes, HasSubstr("stop"));
    EXPECT_THAT(out.fds, IsEmpty());
    session.sent(out.bytes.size());
    out = session.output();
    EXPECT_TRUE(out.bytes.starts_with(R"({"arguments":{"fdname":"f"},"execute":"getfd")"));
    EXPECT_THAT(out.bytes, HasSubstr("cont"));
    ASSERT_THAT(out.fds, SizeIs(1));
    const auto number = out.fds[0];
    EXPECT_NE(::fcntl(number, F_GETFD), -1);
    // Nothing was taken: the descriptor is still needed.
    session.sent(0);
    EXPECT_THAT(session.output().fds, SizeIs(1));
    session.sent(1);
    EXPECT_EQ(::fcntl(number, F_GETFD), -1);
    EXPECT_THAT(session.output().fds, IsEmpty());
    EXPECT_FALSE(session.output().bytes.empty());
}

TEST(Session, OneCommandWithDescriptorsIsUnderWayAtATime) {
    auto session = ready_session();
    const auto first = session.submit(with_fd("getfd"));
    session.submit(with_fd("add-fd"));
    session.submit(Request("cont"));
    EXPECT_THAT(written(session), HasSubstr("getfd"));
    EXPECT_EQ(session.output().bytes, "");
    session.receive(reply_to(first));
    EXPECT_THAT(steps(session), ElementsAre("2 {}"));
    const auto out = session.output();
    EXPECT_THAT(out.bytes, HasSubstr("add-fd"));
    EXPECT_THAT(out.bytes, HasSubstr("cont"));
    EXPECT_THAT(out.fds, SizeIs(1));
}

TEST(Session, TheNextDescriptorGoesOnceAForgottenOneIsAnswered) {
    auto session = ready_session();
    const auto first = session.submit(with_fd("getfd"));
    session.submit(with_fd("add-fd"));
    written(session);
    session.forget(first);
    EXPECT_EQ(session.output().bytes, "");
    session.receive(reply_to(first));
    EXPECT_THAT(steps(session), IsEmpty());
    EXPECT_THAT(written(session), HasSubstr("add-fd"));
}

TEST(Session, TheEndClosesDescriptorsThatWereNotSent) {
    auto session = ready_session();
    auto on_wire = with_fd("getfd");
    auto queued = with_fd("add-fd");
    const auto first = on_wire.fds[0].get();
    const auto second = queued.fds[0].get();
    session.submit(std::move(on_wire));
    session.submit(std::move(queued));
    EXPECT_THAT(session.output().fds, SizeIs(1));
    session.end_of_stream();
    EXPECT_EQ(::fcntl(first, F_GETFD), -1);
    EXPECT_EQ(::fcntl(second, F_GETFD), -1);
}

}  // namespace
}  // namespace noxsup::qmp
