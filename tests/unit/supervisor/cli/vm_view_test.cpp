#include "supervisor/cli/vm_view.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/golden.hpp"

namespace noxsup::cli {
namespace {

using test::expect_golden;

Json golden_vms() {
    return Json::parse(test::slurp(test::golden_path("json/vms.json")))["vms"];
}

TEST(VmView, ListIsAsInTheGoldenFiles) {
    const auto vms = golden_vms();
    auto document = vm_document(vms);
    document.text = format_table(vm_table(vms, true));
    GlobalOptions options;
    expect_golden(render(document, options), "cli/list.table");
    options.format = Format::csv;
    expect_golden(render(document, options), "cli/list.csv");
    options.format = Format::yaml;
    expect_golden(render(document, options), "cli/list.yaml");
    options.format = Format::json;
    expect_golden(render(document, options), "json/vms.json");
    options.quiet = true;
    expect_golden(render(document, options), "cli/list.quiet");
}

TEST(VmView, StatusIsAsInTheGoldenFiles) {
    std::string pages;
    for (const auto& vm : golden_vms()) pages += vm_page(vm);
    expect_golden(pages, "cli/status.txt");
}

TEST(VmView, TheAddressIsOneThatCanBeReached) {
    const auto vms = golden_vms();
    EXPECT_EQ(vm_address(vms[0]), "192.168.1.23");
    EXPECT_EQ(vm_address(vms[1]), "127.0.0.1:40022");
    EXPECT_EQ(vm_address(vms[2]), "");
}

TEST(VmView, OddJsonIsShownAndNeverThrows) {
    for (const auto* text :
         {"{}", "null", "[]", "5", R"({"name": 7, "networks": 5, "stages": [1, {"seconds": "x"}]})",
          R"({"networks": [5, {"addresses": {}}], "disk": [], "ssh": 4, "degraded": "x"})",
          R"({"memory_bytes": -1, "name": "\u001b[2J"})"}) {
        const auto vm = Json::parse(text);
        EXPECT_NO_THROW({
            const auto page = vm_page(vm);
            EXPECT_EQ(page.find('\x1b'), std::string::npos);
            (void)vm_table(Json::array({vm}), true);
            (void)stages_text(vm);
            (void)vm_address(vm);
        }) << text;
    }
}

}  // namespace
}  // namespace noxsup::cli
