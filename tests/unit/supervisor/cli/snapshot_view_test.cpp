#include "supervisor/cli/snapshot_view.hpp"

#include <gtest/gtest.h>

#include "supervisor/daemon/snapshot_api.hpp"
#include "tests/support/golden.hpp"

namespace noxsup::cli {
namespace {

using test::expect_golden;

Json snapshots() {
    state::Snapshot off;
    off.name = "fresh";
    off.tag = "fresh.0123abcd";
    off.created_at = "2026-11-26T12:00:00Z";
    off.cpus = 1;
    off.memory_bytes = std::uint64_t{512} << 20;
    off.disk_virtual_bytes = std::uint64_t{5} << 30;
    off.disk_used_bytes = std::uint64_t{200} << 20;
    off.files_bytes = 4096;
    off.firmware_vars = true;
    auto frozen = off;
    frozen.name = "snap1";
    frozen.state = lifecycle::State::running;
    frozen.frozen = true;
    frozen.comment = "before the upgrade, \x1b[31mat night";
    auto ram = off;
    ram.name = "with-ram";
    ram.state = lifecycle::State::running;
    ram.files_bytes = std::uint64_t{300} << 20;
    ram.ram = state::SavedRam{{"key"}, "2026-11-26T12:00:00Z"};
    auto list = Json::array();
    list.push_back(daemon::snapshot_json("testvm", off));
    list.push_back(daemon::snapshot_json("testvm", frozen));
    list.push_back(daemon::snapshot_json("web", ram));
    return list;
}

TEST(SnapshotView, SnapshotsAreAsInTheGoldenFiles) {
    const auto document = snapshot_document(snapshots());
    GlobalOptions options;
    expect_golden(render(document, options), "cli/snapshot-ls.table");
    options.format = Format::csv;
    expect_golden(render(document, options), "cli/snapshot-ls.csv");
    options.format = Format::json;
    expect_golden(render(document, options), "json/snapshots.json");
    options.quiet = true;
    EXPECT_EQ(render(document, options), "fresh\nsnap1\nwith-ram\n");
}

TEST(SnapshotView, WithoutAnyItSaysHowToTakeOne) {
    const auto document = snapshot_document(Json::array());
    EXPECT_NE(document.text.find("noxsup snapshot create"), std::string::npos);
    EXPECT_EQ(document.json["snapshots"], Json::array());
}

}  // namespace
}  // namespace noxsup::cli
