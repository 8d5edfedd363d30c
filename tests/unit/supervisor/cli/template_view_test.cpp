#include "supervisor/cli/template_view.hpp"

#include <gtest/gtest.h>

#include "supervisor/cli/output.hpp"
#include "tests/support/golden.hpp"

namespace noxsup::cli {
namespace {

using test::expect_golden;

Json sample_template(const std::string& id, Json users, Json of_no_use) {
    return {{"id", id},
            {"os", "debian:13"},
            {"image", "debian-13-arm64"},
            {"arch", "arm64"},
            {"accel", "kvm"},
            {"cpus", 1},
            {"memory_bytes", std::uint64_t{512} << 20},
            {"disk",
             {{"virtual_bytes", std::uint64_t{5} << 30}, {"used_bytes", std::uint64_t{9} << 26}}},
            {"user", "nox"},
            {"networks", {"bridge"}},
            {"created_at", "2026-11-27T06:00:00Z"},
            {"ram_file_bytes", std::uint64_t{300} << 20},
            {"of_no_use", std::move(of_no_use)},
            {"used_by", std::move(users)}};
}

TEST(TemplateView, TemplatesAreAsInTheGoldenFiles) {
    auto list = Json::array();
    list.push_back(sample_template("3f2a9c41", {"web", "db"}, nullptr));
    list.push_back(sample_template("0badcafe", Json::array(),
                                   "there was QEMU 7.2, now there is \x1b[31mQEMU 10.0"));
    const auto document = template_document(list);
    GlobalOptions options;
    expect_golden(render(document, options), "cli/template-ls.table");
    options.format = Format::csv;
    expect_golden(render(document, options), "cli/template-ls.csv");
    options.format = Format::json;
    expect_golden(render(document, options), "json/templates.json");
    options.quiet = true;
    EXPECT_EQ(render(document, options), "3f2a9c41\n0badcafe\n");
}

TEST(TemplateView, WithoutAnyItSaysHowToMakeOne) {
    const auto document = template_document(Json::array());
    EXPECT_NE(document.text.find("noxsup template create"), std::string::npos);
    EXPECT_EQ(document.json["templates"], Json::array());
}

}  // namespace
}  // namespace noxsup::cli
