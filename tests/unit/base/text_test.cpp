#include "supervisor/base/text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace noxsup {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(EscapeForTerminal, KeepsPlainTextNewlinesTabsAndUtf8) {
    EXPECT_EQ(escape_for_terminal("a\tb\nGr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"),
              "a\tb\nGr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
}

TEST(EscapeForTerminal, EscapesControlCharacters) {
    EXPECT_EQ(escape_for_terminal("\x1b[31mred\x07\x7f\r"), "\\x1b[31mred\\x07\\x7f\\x0d");
    EXPECT_EQ(escape_for_terminal(std::string_view("\0", 1)), "\\x00");
}

TEST(EscapeForTerminal, EscapesC1ControlsWrittenAsUtf8) {
    EXPECT_EQ(escape_for_terminal("\xc2\x9b"
                                  "31m"),
              "\\xc2\\x9b31m");
    EXPECT_EQ(escape_for_terminal("\xc2\xa0"), "\xc2\xa0");
}

TEST(EscapeForTerminal, EscapesBytesThatAreNotUtf8) {
    EXPECT_EQ(escape_for_terminal("a\xff"
                                  "b"),
              "a\\xffb");
    EXPECT_EQ(escape_for_terminal("\xed\xa0\x80"), "\\xed\\xa0\\x80");
    EXPECT_EQ(escape_for_terminal("\xe2\x82"), "\\xe2\\x82");
}

TEST(IsValidUtf8, RefusesOverlongSurrogatesAndBeyondTheLast) {
    EXPECT_TRUE(is_valid_utf8("\xf4\x8f\xbf\xbf"));
    EXPECT_FALSE(is_valid_utf8("\xf4\x90\x80\x80"));
    EXPECT_FALSE(is_valid_utf8("\xc0\xaf"));
    EXPECT_FALSE(is_valid_utf8("\xe0\x80\xaf"));
    EXPECT_FALSE(is_valid_utf8("\xed\xb0\x80"));
    EXPECT_FALSE(is_valid_utf8("\x80"));
    EXPECT_TRUE(is_valid_utf8(""));
}

TEST(Split, GivesEveryPartAndNoneForNothing) {
    EXPECT_THAT(split("", ','), IsEmpty());
    EXPECT_THAT(split("a,,b,", ','), ElementsAre("a", "", "b", ""));
}

TEST(LastLines, DropsEmptyLinesAtTheEnd) {
    EXPECT_THAT(last_lines("one\ntwo\nthree\n\n \n", 2), ElementsAre("two", "three"));
    EXPECT_THAT(last_lines("", 2), IsEmpty());
}

TEST(FormatBytes, UsesBinaryUnitsWithOneDecimalAtMost) {
    EXPECT_EQ(format_bytes(0), "0 B");
    EXPECT_EQ(format_bytes(1023), "1023 B");
    EXPECT_EQ(format_bytes(1536), "1.5 KiB");
    EXPECT_EQ(format_bytes(512ULL << 20), "512 MiB");
    EXPECT_EQ(format_bytes(2ULL << 40), "2 TiB");
}

TEST(FormatRate, InTheLargestUnit) {
    EXPECT_EQ(format_rate(64'000), "64 kbit/s");
    EXPECT_EQ(format_rate(100'000'000), "100 Mbit/s");
    EXPECT_EQ(format_rate(2'500'000'000), "2.5 Gbit/s");
    EXPECT_EQ(format_rate(400'000'000'000), "400 Gbit/s");
}

TEST(ToHexAndTrim, Work) {
    const std::byte bytes[] = {std::byte{0x00}, std::byte{0xaf}, std::byte{0x10}};
    EXPECT_EQ(to_hex(bytes), "00af10");
    EXPECT_EQ(trim(" \t a b\r\n"), "a b");
    EXPECT_EQ(trim(" \n"), "");
    EXPECT_EQ(join({"a", "b", "c"}, ", "), "a, b, c");
    EXPECT_EQ(join({}, ", "), "");
}

TEST(ShellQuoted, KeepsEveryWord) {
    EXPECT_EQ(shell_quoted("plain-1.2/x"), "plain-1.2/x");
    EXPECT_EQ(shell_quoted(""), "''");
    EXPECT_EQ(shell_quoted("a b"), "'a b'");
    EXPECT_EQ(shell_quoted("it's"), "'it'\\''s'");
    EXPECT_EQ(shell_quoted("$HOME;`x`\n"), "'$HOME;`x`\n'");
    EXPECT_EQ(shell_quoted("~"), "'~'");
}

}  // namespace
}  // namespace noxsup
