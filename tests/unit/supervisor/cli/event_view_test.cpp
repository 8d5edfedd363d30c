#include "supervisor/cli/event_view.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "supervisor/base/text.hpp"
#include "tests/support/golden.hpp"

namespace noxsup::cli {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string rendered(GlobalOptions options) {
    EventRenderer renderer(options);
    std::string text;
    const auto lines = test::slurp(test::golden_path("json/events.jsonl"));
    for (const auto& line : split(lines, '\n')) {
        if (!line.empty()) text += renderer.render(Json::parse(line));
    }
    return text;
}

TEST(EventView, EveryFormIsAsInTheGoldenFiles) {
    GlobalOptions options;
    test::expect_golden(rendered(options), "cli/events.txt");
    options.format = Format::csv;
    test::expect_golden(rendered(options), "cli/events.csv");
    options.format = Format::yaml;
    EXPECT_THAT(rendered(options), StartsWith("---\ndata:\n  pid: 4242\n"));
    EXPECT_THAT(rendered(options), HasSubstr("\n---\ncount: 12\n")) << "a document for each";
    options.quiet = true;
    EXPECT_EQ(rendered(options), "web\nweb\nweb\nweb\nweb\nweb\nshop\nshop\n");
}

TEST(EventView, JsonIsALineOfAsciiForEach) {
    GlobalOptions options;
    options.format = Format::json;
    const auto text = rendered(options);
    EXPECT_EQ(text, test::slurp(test::golden_path("json/events.jsonl")));
    for (const char c : text) EXPECT_TRUE(c == '\n' || (c >= ' ' && c < '\x7f'));
}

TEST(EventView, OddEventsAreShownAndNeverThrow) {
    for (const auto* text :
         {"{}", "null", "[]", "5", R"({"kind": 7, "vm": ["x"], "data": 5})",
          R"({"kind": "qmp", "event": {}, "data": []})", R"({"kind": "state", "state": null})",
          R"({"kind": "new\u001b[2J", "vm": "\u001b[2J\n"})"}) {
        const auto line = event_text(Json::parse(text));
        EXPECT_THAT(line, Not(HasSubstr("\x1b"))) << text;
        EXPECT_THAT(line, Not(HasSubstr("\n"))) << text;
        for (const auto format : {Format::csv, Format::yaml, Format::json}) {
            GlobalOptions options;
            options.format = format;
            EXPECT_FALSE(EventRenderer(options).render(Json::parse(text)).empty());
        }
    }
}

}  // namespace
}  // namespace noxsup::cli
