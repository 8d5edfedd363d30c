#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "supervisor/cli/duration.hpp"
#include "supervisor/cli/output.hpp"
#include "supervisor/cli/progress_display.hpp"
#include "supervisor/cli/table.hpp"
#include "supervisor/cli/yaml.hpp"

namespace noxsup::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::chrono_literals;

TEST(FormatTable, AlignsColumnsAndLeavesNoSpaceAtTheEnd) {
    const Table table{{"NAME", "STATE", "IP"},
                      {{"a", "running", "10.0.0.1"}, {"a-long-name", "stopped", ""}}};
    EXPECT_EQ(format_table(table),
              "NAME         STATE    IP\n"
              "a            running  10.0.0.1\n"
              "a-long-name  stopped\n");
}

TEST(FormatTable, CountsCharactersNotBytesAndEscapesControls) {
    const Table table{{"A", "B"}, {{"\xc3\xa4\xc3\xb6", "x"}, {"\x1b[31m", "two\nlines\t!"}}};
    EXPECT_EQ(format_table(table),
              "A         B\n"
              "\xc3\xa4\xc3\xb6        x\n"
              "\\x1b[31m  two lines !\n");
}

TEST(FormatCsv, FollowsRfc4180) {
    const Table table{{"NAME", "USED BY"},
                      {{"plain", "a,b"}, {"say \"hi\"", "two\nlines"}, {"", " sp "}}};
    EXPECT_EQ(format_csv(table),
              "name,used_by\r\n"
              "plain,\"a,b\"\r\n"
              "\"say \"\"hi\"\"\",\"two\nlines\"\r\n"
              ", sp \r\n");
}

TEST(FormatYaml, WritesBlocksThatReadBack) {
    const auto document = Json::parse(R"({
        "version": 1, "empty": {}, "none": [], "nothing": null, "yes": "yes", "text": "plain",
        "number": "12", "float": 1.5, "list": [1, [2, 3], {"a": 1, "b": ["x"]}],
        "nested": {"k": {"deep": true}}, "odd key: ": "a: b # c", "date": "2025-01-01T00:00:00Z"})");
    EXPECT_EQ(format_yaml(document),
              "date: \"2025-01-01T00:00:00Z\"\n"
              "empty: {}\n"
              "float: 1.5\n"
              "list:\n"
              "  - 1\n"
              "  - - 2\n"
              "    - 3\n"
              "  - a: 1\n"
              "    b:\n"
              "      - x\n"
              "nested:\n"
              "  k:\n"
              "    deep: true\n"
              "none: []\n"
              "nothing: null\n"
              "number: \"12\"\n"
              "\"odd key: \": \"a: b # c\"\n"
              "text: plain\n"
              "version: 1\n"
              "\"yes\": \"yes\"\n");
}

TEST(FormatYaml, QuotesWhatReadersCouldTakeForSomethingElse) {
    for (const auto* text :
         {"",     "no", "Off", "NULL", "~",  "-",  "1e3",  "0x10", "a b", "a: b", "#x",
          "!tag", "&a", "*a",  "@x",   "`x", "%x", "x\ny", " x",   "x ",  "=",    "<<"}) {
        EXPECT_THAT(format_yaml(text), HasSubstr("\"")) << text;
    }
    EXPECT_EQ(format_yaml("a-b_c1"), "a-b_c1\n");
    EXPECT_EQ(format_yaml("\xf0\x9f\x98\x80"), "\"\\U0001F600\"\n");
    EXPECT_EQ(format_yaml("\x7f\xc2\x85"), "\"\\u007f\\u0085\"\n");
    EXPECT_EQ(format_yaml("back\\ud83d"), "\"back\\\\ud83d\"\n");
}

TEST(ParseDuration, TakesWhatPeopleWrite) {
    EXPECT_EQ(*parse_duration("90", "--timeout"), 90s);
    EXPECT_EQ(*parse_duration("90s", "--timeout"), 90s);
    EXPECT_EQ(*parse_duration("5m", "--timeout"), 5min);
    EXPECT_EQ(*parse_duration("1h30m", "--timeout"), 90min);
    EXPECT_EQ(*parse_duration("1.5h", "--timeout"), 90min);
    EXPECT_EQ(*parse_duration("250ms", "--timeout"), 250ms);
    EXPECT_EQ(*parse_duration("2d", "--timeout"), 48h);
    for (const auto* text :
         {"", "m", "5x", "-5", "5m30", "s5", "1e9", "31d", "5 m", "inf", "nan"}) {
        const auto bad = parse_duration(text, "--timeout");
        ASSERT_FALSE(bad) << text;
        EXPECT_EQ(bad.error().code, ErrorCode::invalid_argument);
        EXPECT_THAT(bad.error().message, HasSubstr("--timeout"));
    }
}

TEST(FormatSeconds, IsShort) {
    EXPECT_EQ(format_seconds(0.04), "0.0 s");
    EXPECT_EQ(format_seconds(9.94), "9.9 s");
    EXPECT_EQ(format_seconds(9.96), "10 s");
    EXPECT_EQ(format_seconds(185), "3 min 05 s");
}

TEST(Render, QuietBeatsTheFormat) {
    Document document;
    document.json = {{"vms", Json::array()}};
    document.names = {"a", "b"};
    GlobalOptions options;
    options.format = Format::json;
    options.quiet = true;
    EXPECT_EQ(render(document, options), "a\nb\n");
    options.quiet = false;
    EXPECT_EQ(render(document, options), "{\n  \"version\": 1,\n  \"vms\": []\n}\n");
}

Error whole_error() {
    Error error(ErrorCode::qemu_failed, "start vm1: QEMU died\x1b[2J", "noxsup logs vm1 --qemu");
    error.stage = "launch";
    error.evidence = {"qemu: no such\nmachine", "second \x07 line"};
    return error;
}

TEST(RenderError, ForPeopleHasAllPartsAndNoControls) {
    EXPECT_EQ(render_error_text(whole_error(), false),
              "error: start vm1: QEMU died\\x1b[2J (stage launch)\n"
              "  | qemu: no such\n"
              "  | machine\n"
              "  | second \\x07 line\n"
              "hint: noxsup logs vm1 --qemu\n");
    EXPECT_THAT(render_error_text(Error(ErrorCode::failed, "m"), false), Not(HasSubstr("hint")));
}

TEST(RenderError, ForProgramsIsOneStableLine) {
    const auto text = render_error_json(whole_error(), "vm1");
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
    const auto json = Json::parse(text);
    EXPECT_EQ(json["version"], 1);
    EXPECT_EQ(json["error"]["code"], "qemu-failed");
    EXPECT_EQ(json["error"]["exit"], 2);
    EXPECT_EQ(json["error"]["stage"], "launch");
    EXPECT_EQ(json["error"]["vm"], "vm1");
    EXPECT_EQ(json["error"]["hint"], "noxsup logs vm1 --qemu");
}

TEST(DescribeProgress, TellsShareRateAndTimeLeft) {
    const control::Progress half{"download", 50 << 20, 100 << 20, "bytes", std::nullopt};
    EXPECT_EQ(describe_progress(half, 10 << 20), "download 50% of 100 MiB, 10 MiB/s, 5.0 s left");
    const control::Progress unknown{"download", 5 << 20, 0, "bytes", std::nullopt};
    EXPECT_EQ(describe_progress(unknown, 0), "download 5 MiB");
    const control::Progress steps{"build", 3, 9, "steps", std::nullopt};
    EXPECT_EQ(describe_progress(steps, 1), "build 33%");
    const control::Progress hostile{"a\nb\x1b", 9, 3, "", std::nullopt};
    EXPECT_EQ(describe_progress(hostile, 0), "a b\\x1b 100%");
}

TEST(ProgressStyleOf, JsonAndQuietAreSilent) {
    GlobalOptions options;
    options.format = Format::json;
    EXPECT_EQ(progress_style(options), ProgressStyle::silent);
    options.progress = ProgressMode::json;
    EXPECT_EQ(progress_style(options), ProgressStyle::json);
    options = {};
    options.quiet = true;
    EXPECT_EQ(progress_style(options), ProgressStyle::silent);
}

}  // namespace
}  // namespace noxsup::cli
