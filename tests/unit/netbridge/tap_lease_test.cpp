#include "netbridge/tap_lease.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/fake_kernel_network.hpp"

namespace noxsup::netbridge {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Key;

const MacAddress bridge_mac({0x0a, 0, 0, 0, 0, 1});
const MacAddress card_mac({0x08, 0, 0, 0, 0, 2});
constexpr std::uint32_t jumbo = 9000;

TapRequest request(const std::string& id = "0123456789ab") {
    TapRequest result{*InterfaceName::parse("br0"), id, "7a7f3d52-0d1c-4d5e-9a51-2c1f0b6f8a11",
                      MacAddress({0x52, 0x54, 0, 1, 2, 3})};
    return result;
}

Link empty_bridge() {
    Link bridge;
    bridge.name = "br0";
    bridge.kind = "bridge";
    bridge.mac = bridge_mac;
    bridge.mtu = jumbo;
    bridge.up = true;
    return bridge;
}

class TapLeaseTest : public testing::Test {
  protected:
    TapLeaseTest() : bridge_(kernel_.add_link(empty_bridge())) {}
    void add_card() {
        Link card;
        card.name = "eth0";
        card.mac = card_mac;
        card.mtu = jumbo;
        card.master = bridge_;
        kernel_.add_link(card);
    }
    test::FakeKernelNetwork kernel_;
    int bridge_;
};

TEST(TapName, IsTheWholeIdOrAnError) {
    EXPECT_EQ(tap_name("0123456789ab")->str(), "nx0123456789ab");
    EXPECT_TRUE(tap_name("01234567"));
    EXPECT_TRUE(tap_name("0123456789abc"));
    for (const auto* id : {"", "0123456", "0123456789abcd", "0123456789AB", "0123456789a/"}) {
        EXPECT_EQ(tap_name(id).error().code, ErrorCode::invalid_argument) << id;
    }
    const auto id = make_tap_id();
    EXPECT_TRUE(tap_name(id)) << id;
    EXPECT_NE(id, make_tap_id());
}

TEST_F(TapLeaseTest, MakesAPortThatNamesItsVm) {
    const auto lease = lease_tap(kernel_, request());
    ASSERT_TRUE(lease) << lease.error().message;
    const auto tap = kernel_.link("nx0123456789ab");
    ASSERT_TRUE(tap);
    EXPECT_EQ(tap->mac.to_string(), "fe:54:00:01:02:03");
    EXPECT_EQ(tap->mtu, jumbo);
    EXPECT_EQ(tap->alias, "noxsup:7a7f3d52-0d1c-4d5e-9a51-2c1f0b6f8a11");
    EXPECT_EQ(tap->master, bridge_);
    EXPECT_TRUE(tap->up);
    EXPECT_EQ(lease->link.name, tap->name);
    EXPECT_EQ(lease->link.mac, tap->mac);
    EXPECT_EQ(lease->link.mtu, tap->mtu);
    EXPECT_EQ(lease->link.alias, tap->alias);
    EXPECT_EQ(lease->link.master, tap->master);
    EXPECT_TRUE(lease->link.up);
    EXPECT_EQ(lease->taps.size(), 1U);
    EXPECT_EQ(lease->vhosts.size(), 1U);
    EXPECT_FALSE(lease->unfiltered);
    EXPECT_EQ(kernel_.link("br0")->mtu, jumbo);
}

TEST_F(TapLeaseTest, TheOrderKeepsIpv6AndTheWrongMtuOffTheBridge) {
    ASSERT_TRUE(lease_tap(kernel_, request()));
    const std::string tap = "nx0123456789ab";
    EXPECT_THAT(
        kernel_.log(),
        ElementsAre("find br0", "check rights", "links", "mac br0", "create " + tap, "find " + tap,
                    "filter noxsup_" + tap, "mac " + tap, "alias " + tap, "no ipv6 " + tap,
                    "mtu " + tap, "enslave " + tap + " br0", "guard " + tap, "up " + tap));
}

TEST_F(TapLeaseTest, TheDeviceGoesWithItsDescriptor) {
    auto lease = lease_tap(kernel_, request());
    ASSERT_TRUE(lease);
    EXPECT_EQ(kernel_.link_count(), 2U);
    lease->taps.clear();
    EXPECT_EQ(kernel_.link_count(), 1U);
}

TEST(TapLeaseFailure, AtAnyStepLeavesNothing) {
    std::size_t steps = 0;
    for (std::size_t step = 0; step <= steps; ++step) {
        test::FakeKernelNetwork kernel;
        kernel.add_link(empty_bridge());
        kernel.fail_at(step);
        const auto lease = lease_tap(kernel, request());
        if (step == 0) {
            ASSERT_TRUE(lease) << lease.error().message;
            steps = kernel.calls();
            continue;
        }
        if (kernel.log().at(step - 1).starts_with("filter ")) {
            ASSERT_TRUE(lease) << "a VM can do without its filter";
            EXPECT_THAT(lease->unfiltered->message, HasSubstr("made to fail"));
            continue;
        }
        ASSERT_FALSE(lease) << step;
        EXPECT_EQ(lease.error().code, ErrorCode::io_error);
        EXPECT_THAT(lease.error().message, HasSubstr(kernel.log().at(step - 1) + ": made to fail"));
        const bool undone = kernel.log().back() == "unfilter noxsup_nx0123456789ab";
        EXPECT_EQ(kernel.calls(), undone ? step + 1 : step) << "nothing else is tried after it";
        EXPECT_EQ(kernel.link_count(), 1U) << "after step " << step;
        EXPECT_THAT(kernel.rules, IsEmpty()) << "after step " << step;
        EXPECT_EQ(kernel.link("br0")->mac, bridge_mac);
        EXPECT_EQ(kernel.link("br0")->mtu, jumbo);
    }
    EXPECT_EQ(steps, 14U);
}

TEST_F(TapLeaseTest, TheVlanIsThePortsBeforeItIsUp) {
    auto wanted = request();
    wanted.vlan = 20;
    kernel_.vlan_filtering = false;
    EXPECT_EQ(lease_tap(kernel_, wanted).error().code, ErrorCode::host_lacks_bridge);
    EXPECT_EQ(kernel_.link_count(), 1U);
    kernel_.vlan_filtering = true;
    const auto lease = lease_tap(kernel_, wanted);
    ASSERT_TRUE(lease) << lease.error().message;
    const std::string tap = "nx0123456789ab";
    EXPECT_EQ(kernel_.vlans.at(tap), 20U);
    const auto& log = kernel_.log();
    const auto joined = std::ranges::find(log, "enslave " + tap + " br0");
    ASSERT_NE(joined, log.end());
    EXPECT_EQ(*std::next(joined), "vlan " + tap);
    EXPECT_EQ(log.back(), "up " + tap);
}

TEST_F(TapLeaseTest, AQueueForEachCpuWithItsVhost) {
    auto wanted = request();
    wanted.queues = 4;
    auto lease = lease_tap(kernel_, wanted);
    ASSERT_TRUE(lease) << lease.error().message;
    EXPECT_EQ(lease->taps.size(), 4U);
    EXPECT_EQ(lease->vhosts.size(), 4U);
    lease->taps.resize(1);
    EXPECT_TRUE(kernel_.link("nx0123456789ab")) << "the last one holds the device";
}

TEST_F(TapLeaseTest, TheFilterIsOfTheVmAndGoesWithIt) {
    auto wanted = request();
    wanted.isolated = true;
    ASSERT_TRUE(lease_tap(kernel_, wanted));
    ASSERT_THAT(kernel_.rules, ElementsAre(Key("noxsup_nx0123456789ab")));
    const auto& rules = kernel_.rules.begin()->second;
    EXPECT_THAT(rules, HasSubstr("ether saddr != 52:54:00:01:02:03 counter drop"));
    EXPECT_THAT(rules, HasSubstr("comment \"isolated\""));
    ASSERT_TRUE(forget_tap(kernel_, *tap_name(wanted.id)));
    EXPECT_THAT(kernel_.rules, IsEmpty());
}

TEST_F(TapLeaseTest, AGuestThatMaySendAnythingHasNoFilter) {
    auto wanted = request();
    wanted.check_source = false;
    ASSERT_TRUE(lease_tap(kernel_, wanted));
    EXPECT_THAT(kernel_.rules, IsEmpty());
}

TEST_F(TapLeaseTest, WithoutNftablesOnlyAnIsolatedVmIsRefused) {
    kernel_.has_nftables = false;
    const auto lease = lease_tap(kernel_, request());
    ASSERT_TRUE(lease) << lease.error().message;
    ASSERT_TRUE(lease->unfiltered);
    EXPECT_THAT(lease->unfiltered->message, HasSubstr("no nf_tables"));
    auto isolated = request("ba9876543210");
    isolated.isolated = true;
    const auto refused = lease_tap(kernel_, isolated);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::host_lacks_tool);
    EXPECT_EQ(kernel_.link_count(), 2U);
}

TEST_F(TapLeaseTest, RulesThatAFirewallFlushedComeBackWithWhatIsKnown) {
    const auto lease = lease_tap(kernel_, request());
    ASSERT_TRUE(lease);
    const std::vector<IpAddress> known{*parse_ip("10.0.0.5"), *parse_ip("fd00::5")};
    EXPECT_FALSE(*restore_filter(kernel_, request(), known, *kernel_.rule_tables()));
    kernel_.rules.clear();
    EXPECT_TRUE(*restore_filter(kernel_, request(), known, *kernel_.rule_tables()));
    EXPECT_THAT(kernel_.rules.at("noxsup_nx0123456789ab"), HasSubstr("elements = { 0x0a000005 }"));
    kernel_.rules.clear();
    auto free = request();
    free.check_source = false;
    EXPECT_FALSE(*restore_filter(kernel_, free, known, {}));
    EXPECT_THAT(kernel_.rules, IsEmpty());
}

TEST_F(TapLeaseTest, ASweepTakesTheRulesOfTapsThatAreGone) {
    const auto living = lease_tap(kernel_, request());
    ASSERT_TRUE(living);
    ASSERT_TRUE(lease_tap(kernel_, request("ba9876543210")));
    kernel_.rules["firewall"] = "somebody else's";
    kernel_.rules["noxsup_"] = "no name of ours";
    EXPECT_EQ(*sweep_filters(kernel_), 1U);
    EXPECT_THAT(kernel_.rules,
                ElementsAre(Key("firewall"), Key("noxsup_"), Key("noxsup_nx0123456789ab")));
}

TEST_F(TapLeaseTest, TheBridgesAddressStaysWithoutACard) {
    for (int i = 0; i < 3; ++i) {
        const auto first = lease_tap(kernel_, request("0123456789ab"));
        const auto second = lease_tap(kernel_, request("ba9876543210"));
        ASSERT_TRUE(first && second);
        EXPECT_EQ(kernel_.link("br0")->mac, bridge_mac);
    }
    EXPECT_EQ(kernel_.link("br0")->mac, bridge_mac);
    EXPECT_EQ(std::ranges::count(kernel_.log(), "mac br0"), 1) << "fixed once, then left alone";
}

TEST_F(TapLeaseTest, ABridgeThatHasItsCardsAddressIsLeftAlone) {
    add_card();
    ASSERT_TRUE(lease_tap(kernel_, request()));
    EXPECT_EQ(kernel_.link("br0")->mac, card_mac);
    EXPECT_EQ(std::ranges::count(kernel_.log(), "mac br0"), 0);
}

TEST_F(TapLeaseTest, ANameInUseIsAnErrorAndTheHolderStays) {
    const auto first = lease_tap(kernel_, request());
    ASSERT_TRUE(first);
    const auto second = lease_tap(kernel_, request());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::already_exists);
    EXPECT_TRUE(kernel_.link("nx0123456789ab"));
}

TEST_F(TapLeaseTest, NoBridgeNoRightsNoVhost) {
    kernel_.has_vhost = false;
    const auto lease = lease_tap(kernel_, request());
    ASSERT_TRUE(lease);
    EXPECT_THAT(lease->vhosts, IsEmpty());
    kernel_.has_rights = false;
    EXPECT_EQ(lease_tap(kernel_, request("ba9876543210")).error().code,
              ErrorCode::host_lacks_right);
    auto elsewhere = request("ba9876543210");
    elsewhere.bridge = *InterfaceName::parse("br9");
    EXPECT_EQ(lease_tap(kernel_, elsewhere).error().code, ErrorCode::host_lacks_bridge);
    EXPECT_EQ(kernel_.link_count(), 2U);
}

}  // namespace
}  // namespace noxsup::netbridge
