#include "qmp/framer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <string>
#include <vector>

namespace noxsup::qmp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// All lines of a stream fed in pieces that end at `cuts`.
std::vector<std::string> lines_of(std::string_view stream, const std::vector<std::size_t>& cuts,
                                  Framer framer = Framer()) {
    std::vector<std::string> lines;
    std::size_t start = 0;
    const auto feed_to = [&](std::size_t end) {
        framer.feed(stream.substr(start, end - start));
        start = end;
        for (auto line = framer.next(); line && *line; line = framer.next())
            lines.emplace_back(**line);
    };
    for (const auto cut : cuts) feed_to(cut);
    feed_to(stream.size());
    return lines;
}

TEST(Framer, TakesLfAndCrlf) {
    EXPECT_THAT(lines_of("one\ntwo\r\n\r\n\nthree\n", {}),
                ElementsAre("one", "two", "", "", "three"));
}

TEST(Framer, KeepsACarriageReturnThatEndsNoLine) {
    EXPECT_THAT(lines_of("a\rb\nc\r\r\n", {}), ElementsAre("a\rb", "c\r"));
}

TEST(Framer, GivesTheSameLinesForEveryCut) {
    const std::string stream = "{\"a\":1}\r\n{\"b\":\"x\ry\"}\n\r\n{\"c\":[1,2]}\r\nrest";
    const auto expected = lines_of(stream, {});
    ASSERT_EQ(expected.size(), 4U);
    for (std::size_t first = 0; first <= stream.size(); ++first) {
        for (std::size_t second = first; second <= stream.size(); ++second) {
            EXPECT_EQ(lines_of(stream, {first, second}), expected) << first << ", " << second;
        }
    }
}

TEST(Framer, HoldsAnUnfinishedLineBack) {
    Framer framer;
    framer.feed("half");
    const auto nothing = framer.next();
    ASSERT_TRUE(nothing);
    EXPECT_FALSE(*nothing);
    EXPECT_EQ(framer.pending(), 4U);
    framer.feed(" done\nx");
    const auto line = framer.next();
    ASSERT_TRUE(line && *line);
    EXPECT_EQ(**line, "half done");
    EXPECT_EQ(framer.pending(), 1U);
}

TEST(Framer, TheLimitCountsTheLineWithoutItsEnd) {
    const std::string full(8, 'x');
    for (const auto* end : {"\n", "\r\n"}) {
        const auto stream = full + end;
        for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
            EXPECT_THAT(lines_of(stream, {cut}, Framer(8)), ElementsAre(full)) << cut;
        }
    }
}

TEST(Framer, RefusesALineBeyondTheLimitForEveryCut) {
    for (const std::string stream :
         {"123456789\n", "123456789\r\n", "12345678\rx\n", "123456789"}) {
        for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
            Framer framer(8);
            framer.feed(stream.substr(0, cut));
            auto result = framer.next();
            framer.feed(stream.substr(cut));
            if (result) result = framer.next();
            ASSERT_FALSE(result) << stream << " cut at " << cut;
            EXPECT_EQ(result.error().code, ErrorCode::protocol_error);
            EXPECT_THAT(result.error().message, HasSubstr("longer than the limit of 8 bytes"));
        }
    }
}

TEST(Framer, StaysRefusedAndKeepsNothing) {
    Framer framer(8);
    framer.feed("123456789");
    EXPECT_FALSE(framer.next());
    framer.feed("\nfine\n");
    EXPECT_FALSE(framer.next());
    EXPECT_EQ(framer.pending(), 0U);
    EXPECT_LT(framer.capacity(), 64U);
}

TEST(Framer, SixteenMebibytesAreInAndOneMoreIsOut) {
    Framer framer;
    const std::string piece(std::size_t{64} << 10, 'x');
    for (int i = 0; i < 256; ++i) {
        framer.feed(piece);
        const auto nothing = framer.next();
        ASSERT_TRUE(nothing);
        ASSERT_FALSE(*nothing);
    }
    auto other = framer;
    framer.feed("\n");
    const auto line = framer.next();
    ASSERT_TRUE(line && *line);
    EXPECT_EQ((*line)->size(), max_line_bytes);
    other.feed("x");
    EXPECT_FALSE(other.next());
    EXPECT_LT(other.capacity(), 64U);
}

TEST(Framer, MemoryStaysNearTheLimitAndIsGivenBack) {
    constexpr std::size_t limit = std::size_t{1} << 20;
    constexpr std::size_t read = std::size_t{32} << 10;
    Framer framer(limit);
    const std::string piece(read, 'x');
    for (std::size_t fed = 0; fed < limit; fed += read) {
        framer.feed(piece);
        ASSERT_TRUE(framer.next());
        EXPECT_LE(framer.capacity(), limit + 2 * read + 64);
    }
    framer.feed("\nhello");
    ASSERT_TRUE(framer.next());
    ASSERT_TRUE(framer.next());
    EXPECT_EQ(framer.pending(), 5U);
    EXPECT_LE(framer.capacity(), read);
}

TEST(Framer, ManyLinesBehindAnUnfinishedOneDoNotGrowTheBuffer) {
    Framer framer;
    const std::string piece(1000, 'x');
    std::size_t lines = 0;
    for (int i = 0; i < 10'000; ++i) {
        // Each feed ends in the middle of a line.
        framer.feed(piece);
        framer.feed("\n");
        framer.feed(piece);
        for (auto line = framer.next(); line && *line; line = framer.next()) ++lines;
        framer.feed("\n");
        for (auto line = framer.next(); line && *line; line = framer.next()) ++lines;
    }
    EXPECT_EQ(lines, 20'000U);
    EXPECT_LT(framer.capacity(), std::size_t{128} << 10);
}

TEST(Framer, AGiantLineInTinyPiecesCostsLinearTime) {
    // 1 MiB in single bytes: a scan from the line's start each time would look at 500 GiB.
    constexpr std::size_t size = std::size_t{1} << 20;
    Framer framer;
    const auto begin = std::clock();
    for (std::size_t i = 0; i < size; ++i) {
        framer.feed("x");
        ASSERT_TRUE(framer.next());
    }
    // Of this process alone: the machine may be busy with others.
    EXPECT_LT((std::clock() - begin) / CLOCKS_PER_SEC, 15);
    EXPECT_EQ(framer.pending(), size);
}

}  // namespace
}  // namespace noxsup::qmp
