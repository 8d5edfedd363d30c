#include "netbridge/tap_lease.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/fake_kernel_network.hpp"

namespace noxsup::netbridge {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

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
    EXPECT_TRUE(lease->tap);
    EXPECT_TRUE(lease->vhost);
    EXPECT_EQ(kernel_.link("br0")->mtu, jumbo);
}

TEST_F(TapLeaseTest, TheOrderKeepsIpv6AndTheWrongMtuOffTheBridge) {
    ASSERT_TRUE(lease_tap(kernel_, request()));
    const std::string tap = "nx0123456789ab";
    EXPECT_THAT(kernel_.log(),
                ElementsAre("find br0", "check rights", "links", "mac br0", "create " + tap,
                            "find " + tap, "mac " + tap, "alias " + tap, "no ipv6 " + tap,
                            "mtu " + tap, "enslave " + tap + " br0", "up " + tap));
}

TEST_F(TapLeaseTest, TheDeviceGoesWithItsDescriptor) {
    auto lease = lease_tap(kernel_, request());
    ASSERT_TRUE(lease);
    EXPECT_EQ(kernel_.link_count(), 2U);
    lease->tap.reset();
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
        ASSERT_FALSE(lease) << step;
        EXPECT_EQ(lease.error().code, ErrorCode::io_error);
        EXPECT_THAT(lease.error().message, HasSubstr(kernel.log().back() + ": made to fail"));
        EXPECT_EQ(kernel.calls(), step) << "nothing is tried after the failure";
        EXPECT_EQ(kernel.link_count(), 1U) << "after step " << step;
        EXPECT_EQ(kernel.link("br0")->mac, bridge_mac);
        EXPECT_EQ(kernel.link("br0")->mtu, jumbo);
    }
    EXPECT_EQ(steps, 12U);
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
    EXPECT_FALSE(lease->vhost);
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
