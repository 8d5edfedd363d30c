#include "supervisor/base/json.hpp"

#include <gtest/gtest.h>

namespace noxsup {
namespace {

TEST(ParseJson, TellsWhereItWentWrong) {
    EXPECT_EQ((*parse_json(R"({"a": [1, 2]})"))["a"][1], 2);
    EXPECT_EQ(parse_json("{\"a\": }").error().message, "not valid JSON at byte 7");
    EXPECT_FALSE(parse_json(""));
    EXPECT_FALSE(parse_json("{} {}"));
    EXPECT_EQ(parse_json("[1e999]").error().message, "the JSON has a number that is too large");
    EXPECT_TRUE(parse_json("[1e-999, 123456789012345678901234567890]"));
}

TEST(ParseJson, RefusesANulWhereverItIs) {
    const std::string nul(1, '\0');
    EXPECT_EQ(parse_json("{}" + nul).error().message, "not valid JSON at byte 3");
    for (const auto& text : {"{}" + nul + "more", nul + "{}", "{" + nul + "}", "[\"" + nul + "\"]"})
        EXPECT_FALSE(parse_json(text));
    EXPECT_TRUE(parse_json(R"(["\u0000"])"));
}

TEST(ParseJson, RefusesDeepNesting) {
    EXPECT_TRUE(parse_json(std::string(64, '[') + std::string(64, ']')));
    EXPECT_FALSE(parse_json(std::string(65, '[') + std::string(65, ']')));
    EXPECT_FALSE(parse_json(std::string(1'000'000, '[')));
}

TEST(DumpJson, NeverFails) {
    EXPECT_EQ(dump_json(Json{{"a", "\xff"}}), "{\"a\":\"\xef\xbf\xbd\"}");
}

TEST(JsonMember, ChecksTypeAndRange) {
    const auto object =
        *parse_json(R"({"n": 300, "neg": -1, "s": "x", "b": true, "list": ["a"], "null": null})");
    EXPECT_EQ(*json_member<int>(object, "n"), 300);
    EXPECT_FALSE(json_member<std::uint8_t>(object, "n"));
    EXPECT_FALSE(json_member<unsigned>(object, "neg"));
    EXPECT_FALSE(json_member<int>(object, "b"));
    EXPECT_FALSE(json_member<int>(object, "missing"));
    EXPECT_EQ(*json_member<std::string>(object, "s"), "x");
    EXPECT_EQ(json_member<std::vector<std::string>>(object, "list")->at(0), "a");
    EXPECT_EQ(*json_member_or<int>(object, "missing", 7), 7);
    EXPECT_EQ(*json_member_or<int>(object, "null", 7), 7);
    EXPECT_FALSE(json_member_or<int>(object, "s", 7));
    EXPECT_FALSE(json_member<int>(Json(3), "n"));
}

}  // namespace
}  // namespace noxsup
