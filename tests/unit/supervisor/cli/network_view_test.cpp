#include "supervisor/cli/network_view.hpp"

#include <gtest/gtest.h>

#include "tests/support/golden.hpp"

namespace noxsup::cli {
namespace {

namespace setup = netbridge::setup;
using test::expect_golden;

setup::JournalEntry entry(const std::string& bridge, setup::Phase phase, bool confirmed) {
    setup::Journal journal;
    journal.phase = phase;
    journal.confirmed = confirmed;
    journal.deadline = setup::BootTime(100'000);
    journal.created_at = "2025-01-31T12:00:00Z";
    journal.plan.manager = setup::Manager::ifupdown;
    journal.plan.card = "eth0";
    journal.plan.bridge = bridge;
    return {bridge, std::move(journal)};
}

BridgeView view(const std::string& name) {
    BridgeView view;
    view.name = name;
    view.state = "up";
    view.mac = "dc:a6:32:01:02:03";
    return view;
}

Json bridges() {
    static const auto confirmed = entry("br0", setup::Phase::applied, true);
    static const auto pending = entry("br1", setup::Phase::applied, false);
    static const setup::JournalEntry damaged{"br2", Error{ErrorCode::protocol_error, "torn"}};
    const setup::BootTime now(58'500);
    auto list = Json::array();
    auto own = view("br0");
    own.fixed_mac = true;
    own.addresses = {"192.168.1.5/24", "2001:db8::5/64"};
    own.ports = {"eth0", "nx3f2a9c41"};
    own.managers = {setup::Manager::ifupdown};
    own.setup = &confirmed;
    list.push_back(bridge_json(own, now));
    auto fresh = view("br1");
    fresh.setup = &pending;
    list.push_back(bridge_json(fresh, now));
    auto gone = view("br2");
    gone.state = "missing";
    gone.mac.clear();
    gone.problem = "it is not there";
    gone.setup = &damaged;
    list.push_back(bridge_json(gone, now));
    auto stranger = view("docker0");
    stranger.state = "down";
    stranger.problem = "the bridge docker0 is down";
    list.push_back(bridge_json(stranger, now));
    return list;
}

TEST(NetworkView, BridgesAreAsInTheGoldenFiles) {
    const auto document = bridge_document(bridges());
    GlobalOptions options;
    expect_golden(render(document, options), "cli/network-ls.table");
    options.format = Format::csv;
    expect_golden(render(document, options), "cli/network-ls.csv");
    options.format = Format::json;
    expect_golden(render(document, options), "json/network-ls.json");
    options.quiet = true;
    EXPECT_EQ(render(document, options), "br0\nbr1\nbr2\ndocker0\n");
}

TEST(NetworkView, ATimeThatIsOverIsZero) {
    const auto pending = entry("br1", setup::Phase::applied, false);
    auto late = view("br1");
    late.setup = &pending;
    EXPECT_EQ(bridge_json(late, setup::BootTime(200'000))["setup"]["seconds_left"], 0);
}

TEST(NetworkView, WithoutAnyItSaysHowToMakeOne) {
    const auto document = bridge_document(Json::array());
    EXPECT_NE(document.text.find("noxsup network setup"), std::string::npos);
    EXPECT_EQ(document.json["bridges"], Json::array());
}

}  // namespace
}  // namespace noxsup::cli
