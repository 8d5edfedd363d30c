#include "supervisor/vm/console_replay.hpp"

#include <gtest/gtest.h>

#include <random>

namespace noxsup::vm {
namespace {

TEST(Replayable, TextLinesAndColoursStay) {
    for (const std::string_view kept :
         {"", "login: ", "a\r\nb\n", "tab\there", "\x1b[0;1;31mFAILED\x1b[0m", "\x1b[38:5:9mx",
          "caf\xc3\xa9 \xe2\x9c\x93", "100%\b\b\b\b  5%"}) {
        EXPECT_EQ(replayable(kept), kept);
    }
}

struct Query {
    const char* name;
    std::string_view sequence;
};

class QueryTest : public testing::TestWithParam<Query> {};

TEST_P(QueryTest, IsNotRepeated) {
    const std::string sequence(GetParam().sequence);
    EXPECT_EQ(replayable("a" + sequence + "b"), "ab");
    for (std::size_t cut = 1; cut < sequence.size(); ++cut) {
        EXPECT_EQ(replayable("a" + sequence.substr(0, cut)).substr(0, 1), "a");
        EXPECT_EQ(replayable("a" + sequence.substr(0, cut)).find('\x1b'), std::string::npos);
    }
}

INSTANTIATE_TEST_SUITE_P(
    Sequences, QueryTest,
    testing::Values(Query{"CursorPosition", "\x1b[6n"}, Query{"Status", "\x1b[5n"},
                    Query{"DecCursorPosition", "\x1b[?6n"}, Query{"Attributes", "\x1b[c"},
                    Query{"SecondaryAttributes", "\x1b[>0c"}, Query{"Identify", "\x1bZ"},
                    Query{"Parameters", "\x1b[0x"}, Query{"WindowSize", "\x1b[18t"},
                    Query{"Colour", "\x1b]10;?\a"}, Query{"ColourEndedByST", "\x1b]10;?\x1b\\"},
                    Query{"Capability", "\x1bP+q544e\x1b\\"}, Query{"Enquiry", "\x05"},
                    Query{"ModeRequest", "\x1b[?2004$p"}, Query{"C1", "\xc2\x9b"},
                    Query{"KeyModifiers", "\x1b[>4;2m"}, Query{"Clear", "\x1b[2J"},
                    Query{"Charset", "\x1b(B"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Replayable, NeverLeavesAnEscapeThatIsNoColour) {
    std::mt19937 random(7);  // NOLINT(cert-msc51-cpp): the same texts in every run
    constexpr std::string_view alphabet = "\x1b[]P\\\a?;0169mncxZ \xc2\x9b\n(";
    std::uniform_int_distribution<std::size_t> pick(0, alphabet.size() - 1);
    for (int run = 0; run < 20000; ++run) {
        std::string text(12, ' ');
        for (auto& byte : text) byte = alphabet[pick(random)];
        const auto shown = replayable(text);
        EXPECT_EQ(replayable(shown), shown);
        for (auto at = shown.find('\x1b'); at != std::string::npos;
             at = shown.find('\x1b', at + 1)) {
            const auto end = shown.find_first_not_of("0123456789;:", at + 2);
            ASSERT_TRUE(shown[at + 1] == '[' && end != std::string::npos && shown[end] == 'm')
                << testing::PrintToString(text);
        }
    }
}

}  // namespace
}  // namespace noxsup::vm
