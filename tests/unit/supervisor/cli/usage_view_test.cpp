#include "supervisor/cli/usage_view.hpp"

#include <gtest/gtest.h>

namespace noxsup::cli {
namespace {

Json look(double at, double cpu, int written, const char* name = "vm1") {
    return {{"name", name},
            {"at_seconds", at},
            {"cpu_seconds", cpu},
            {"memory_bytes", 300 << 20},
            {"guest_bytes", 256 << 20},
            {"overhead_bytes", 44 << 20},
            {"read_bytes", 0},
            {"written_bytes", written}};
}

TEST(UsageBetween, MakesRatesOfSums) {
    const auto vms = usage_between(Json::array({look(10, 1, 0)}), Json::array({look(12, 4, 2048)}));
    ASSERT_EQ(vms.size(), 1U);
    EXPECT_EQ(vms[0]["cpu_percent"], 150.0);
    EXPECT_EQ(vms[0]["written_bytes_per_second"], 1024);
    EXPECT_EQ(vms[0]["read_bytes_per_second"], 0);
    EXPECT_FALSE(vms[0].contains("sent_bytes_per_second")) << "it has no device";
}

TEST(UsageBetween, ClaimsNoRateForAnotherQemu) {
    // A VM that came, one that was restarted, and two looks at one moment.
    EXPECT_FALSE(
        usage_between(Json::array(), Json::array({look(12, 4, 1)}))[0].contains("cpu_percent"));
    const auto restarted =
        usage_between(Json::array({look(10, 9, 9000)}), Json::array({look(12, 1, 1)}));
    EXPECT_FALSE(restarted[0].contains("cpu_percent"));
    EXPECT_FALSE(restarted[0].contains("written_bytes_per_second"));
    EXPECT_FALSE(
        usage_between(Json::array({look(10, 1, 0)}), Json::array({look(10, 2, 0)}))[0].contains(
            "cpu_percent"));
    EXPECT_EQ(usage_between(Json::array({look(10, 1, 0)}), Json::array()).size(), 0U);
}

TEST(UsageTable, ShowsRatesAndAmounts) {
    const auto document = usage_document(
        usage_between(Json::array({look(10, 1, 0)}), Json::array({look(12, 4, 2048)})));
    EXPECT_EQ(document.text,
              "NAME  CPU   MEMORY   GUEST    OVERHEAD  READ   WRITTEN  RECEIVED  SENT\n"
              "vm1   150%  300 MiB  256 MiB  44 MiB    0 B/s  1 KiB/s  -         -\n");
    EXPECT_EQ(document.names, std::vector<std::string>{"vm1"});
    EXPECT_EQ(document.table.rows.at(0),
              (std::vector<std::string>{"vm1", "150", "314572800", "268435456", "46137344", "0",
                                        "1024", "", ""}));
    EXPECT_EQ(usage_document(Json::array()).text, "no VM runs\n");
}

TEST(UsageTable, ShowsWhatAnotherBuildSendsWithoutFailing) {
    const auto document = usage_document(Json::array({{{"name", 3}, {"memory_bytes", "x"}}, 7}));
    EXPECT_EQ(document.table.rows.size(), 2U);
}

}  // namespace
}  // namespace noxsup::cli
