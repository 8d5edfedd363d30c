#include "qmp/message.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace noxsup::qmp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

template <class T>
T expect_kind(std::string_view line) {
    auto message = parse_message(line);
    if (!message) throw std::runtime_error(message.error().message);
    return std::get<T>(std::move(*message));
}

TEST(Message, ReadsTheGreeting) {
    const auto greeting = expect_kind<Greeting>(
        R"({"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2"},
            "capabilities": ["oob"]}})");
    EXPECT_EQ(greeting.version.text(), "7.2.22");
    EXPECT_EQ(greeting.version.package, "Debian 1:7.2");
    EXPECT_THAT(greeting.capabilities, ElementsAre("oob"));
}

TEST(Message, ReadsAnEvent) {
    const auto event = expect_kind<Event>(
        R"({"timestamp": {"seconds": 1700000000, "microseconds": 12}, "event": "SHUTDOWN",
            "data": {"guest": false, "reason": "host-qmp-quit"}})");
    EXPECT_EQ(event.name, "SHUTDOWN");
    EXPECT_EQ(event.seconds, 1'700'000'000);
    EXPECT_EQ(event.microseconds, 12);
    EXPECT_EQ(event.data["reason"], "host-qmp-quit");
}

TEST(Message, AnEventMayHaveNeitherDataNorTime) {
    const auto event = expect_kind<Event>(R"({"event": "STOP"})");
    EXPECT_TRUE(event.data.is_object());
    EXPECT_THAT(event.data, IsEmpty());
    EXPECT_EQ(event.seconds, -1);
    EXPECT_EQ(expect_kind<Event>(R"({"event":"STOP","timestamp":{"seconds":-1,"microseconds":-1}})")
                  .seconds,
              -1);
}

TEST(Message, ReadsReturnsOfEveryType) {
    const auto reply = expect_kind<Reply>(R"({"return": {"a": 1}, "id": 7})");
    EXPECT_EQ(reply.id, CommandId{7});
    EXPECT_EQ(reply.value["a"], 1);
    EXPECT_FALSE(reply.error);
    EXPECT_TRUE(expect_kind<Reply>(R"({"return": null, "id": 7})").value.is_null());
    EXPECT_EQ(expect_kind<Reply>(R"({"return": "text\r\n", "id": 7})").value, "text\r\n");
    EXPECT_THAT(expect_kind<Reply>(R"({"return": [], "id": 7})").value, IsEmpty());
}

TEST(Message, ReadsARefusal) {
    const auto reply = expect_kind<Reply>(
        R"({"id": 3, "error": {"class": "DeviceNotFound", "desc": "Device 'n0' not found"}})");
    EXPECT_EQ(reply.id, CommandId{3});
    ASSERT_TRUE(reply.error);
    EXPECT_EQ(reply.error->error_class, "DeviceNotFound");
    EXPECT_EQ(reply.error->description, "Device 'n0' not found");
}

TEST(Message, AnIdThatCannotBeOursIsNone) {
    for (const auto* id : {R"("7")", "-7", "7.0", "null", "[7]", R"({"a":7})", "1e3", "true",
                           "18446744073709551616"}) {
        const auto reply = expect_kind<Reply>(R"({"return": {}, "id": )" + std::string(id) + "}");
        EXPECT_FALSE(reply.id) << id;
    }
    EXPECT_FALSE(expect_kind<Reply>(R"({"return": {}})").id);
    EXPECT_EQ(expect_kind<Reply>(R"({"return": {}, "id": 18446744073709551615})").id,
              CommandId{18446744073709551615U});
}

TEST(Message, RefusesWhatIsNoMessage) {
    for (
        const std::string line :
        {"",
         " ",
         "x",
         "7",
         "[]",
         "\"QMP\"",
         "null",
         "{}",
         R"({"id": 1})",
         R"({"Event": "STOP"})",
         R"({"return": {}, "error": {"class": "a", "desc": "b"}})",
         R"({"QMP": {}, "event": "STOP"})",
         R"({"event": "STOP", "return": {}})",
         R"({"event": ""})",
         R"({"event": 7})",
         R"({"event": null})",
         R"({"event": ["STOP"]})",
         R"({"event": "STOP", "data": []})",
         R"({"event": "STOP", "data": "x"})",
         R"({"event": "STOP", "timestamp": 7})",
         R"({"event": "STOP", "timestamp": {"seconds": "1", "microseconds": 2}})",
         R"({"event": "STOP", "timestamp": {"seconds": 1.5, "microseconds": 2}})",
         R"({"event": "STOP", "timestamp": {"seconds": 99999999999999999999, "microseconds": 2}})",
         R"({"error": "x", "id": 1})",
         R"({"error": {}, "id": 1})",
         R"({"error": null, "id": 1})",
         R"({"error": {"class": "a"}, "id": 1})",
         R"({"error": {"class": 1, "desc": "b"}, "id": 1})",
         R"({"QMP": 1})",
         R"({"QMP": {}})",
         R"({"QMP": {"version": {}}})",
         R"({"QMP": {"version": {"qemu": {"major": 7, "minor": 2}}}})",
         R"({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 4294967296}}}})",
         R"({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 1}}, "capabilities": [1]}})",
         R"({"return": {}, "id": 1} trailing)",
         R"({"return": {}, "id": 1)",
         "{\"return\": \"\xff\"}",
         "{\"return\": \"\xc0\x80\"}",
         "{\"return\": \"\xed\xa0\x80\"}",
         R"({"return": "\ud800"})",
         "{\"return\": \"a\nb\"}",
         R"({"return": NaN})",
         R"({'return': {}})"}) {
        const auto message = parse_message(line);
        ASSERT_FALSE(message) << line;
        EXPECT_EQ(message.error().code, ErrorCode::protocol_error) << line;
        EXPECT_THAT(message.error().message, HasSubstr("QMP message")) << line;
    }
}

TEST(Message, RefusesDeepNesting) {
    const auto nested = [](std::size_t depth) {
        return R"({"return":)" + std::string(depth, '[') + std::string(depth, ']') + "}";
    };
    EXPECT_TRUE(parse_message(nested(60)));
    EXPECT_FALSE(parse_message(nested(70)));
    EXPECT_FALSE(parse_message(nested(1'000'000)));
    // Without the closing half: a parser that recursed would be dead by now.
    EXPECT_FALSE(parse_message(R"({"return":)" + std::string(4'000'000, '[')));
}

TEST(Message, RefusesMoreValuesThanItsLimit) {
    const auto list = [](std::size_t count) {
        std::string text = R"({"return":[0)";
        for (std::size_t i = 1; i < count; ++i) text += ",0";
        return text + "]}";
    };
    EXPECT_TRUE(parse_message(list(max_values - 10)));
    const auto message = parse_message(list(max_values + 10));
    ASSERT_FALSE(message);
    EXPECT_THAT(message.error().message, HasSubstr("more than 500000 values"));
    std::string objects = R"({"return":[)";
    while (objects.size() < 4 * max_values) objects += "{},";
    EXPECT_FALSE(parse_message(objects + "{}]}"));
}

TEST(Message, TextMayHoldAnyNumberOfCommas) {
    const auto line = R"({"return":"\")" + std::string(3 * max_values, ',') + R"([{\\"})";
    const auto reply = expect_kind<Reply>(line);
    EXPECT_EQ(reply.value.get<std::string>().size(), 3 * max_values + 4);
}

TEST(Message, KeepsTextRawAndShowsItEscaped) {
    const auto reply = expect_kind<Reply>(
        R"({"error": {"class": "GenericError", "desc": "bad \u001b[31m \u0000 \u009b end"}, "id": 1})");
    ASSERT_TRUE(reply.error);
    EXPECT_THAT(reply.error->description, HasSubstr("\x1b[31m"));
    const auto error = to_error("device_add", *reply.error);
    EXPECT_EQ(error.code, ErrorCode::qemu_failed);
    EXPECT_THAT(error.message, HasSubstr("QMP device_add: bad \\x1b[31m"));
    EXPECT_THAT(error.message, Not(HasSubstr("\x1b")));
}

TEST(Message, EvidenceIsShortAndEscaped) {
    const auto message = parse_message("\x1b]0;evil\x07" + std::string(1000, 'x'));
    ASSERT_FALSE(message);
    ASSERT_EQ(message.error().evidence.size(), 1U);
    EXPECT_THAT(message.error().evidence[0], Not(HasSubstr("\x1b")));
    EXPECT_LT(message.error().evidence[0].size(), 300U);
}

TEST(Message, ParsesAndComparesVersions) {
    const auto version = parse_version(Json::parse(R"({"qemu":{"major":10,"minor":0,"micro":2}})"));
    ASSERT_TRUE(version);
    EXPECT_EQ(version->package, "");
    EXPECT_GT(*version, (Version{7, 2, 22, "Debian"}));
    EXPECT_FALSE(parse_version(Json::array()));
}

}  // namespace
}  // namespace noxsup::qmp
