#include "netbridge/macvtap_lease.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "netbridge/tap_lease.hpp"
#include "supervisor/base/async.hpp"
#include "tests/support/fake_kernel_network.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::netbridge {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const MacAddress card_mac({0x08, 0, 0, 0, 0, 2});
const MacAddress guest({0x52, 0x54, 0, 1, 2, 3});
const std::string uuid = "7a7f3d52-0d1c-4d5e-9a51-2c1f0b6f8a11";
const std::string device = "nx0123456789ab";

InterfaceName name(const std::string& text) {
    return *InterfaceName::parse(text);
}

Link card(const std::string& called = "eth0") {
    Link link;
    link.name = called;
    link.mac = card_mac;
    link.mtu = 1500;
    link.up = true;
    return link;
}

MacvtapRequest request() {
    return {name("eth0"), "0123456789ab", uuid, guest};
}

class MacvtapLeaseTest : public testing::Test {
  protected:
    Result<MacvtapLease> lease(test::FakeKernelNetwork& kernel, const MacvtapRequest& wanted,
                               std::chrono::milliseconds limit = std::chrono::seconds(3)) {
        return test::run_async(context_, lease_macvtap(kernel, wanted, limit));
    }
    Result<MacvtapLease> lease(const MacvtapRequest& wanted = request()) {
        return lease(kernel_, wanted);
    }
    test::FakeKernelNetwork kernel_;
    boost::asio::io_context context_;
};

TEST_F(MacvtapLeaseTest, IsTheGuestsOwnDeviceOnTheCard) {
    kernel_.add_link(card());
    const auto made = lease();
    ASSERT_TRUE(made) << made.error().message;
    const auto found = kernel_.link(device);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->kind, "macvtap");
    EXPECT_EQ(found->mac, guest);
    EXPECT_EQ(found->alias, "noxsup:" + uuid);
    EXPECT_TRUE(found->up);
    EXPECT_EQ(made->link.name, device);
    EXPECT_EQ(made->link.alias, found->alias);
    EXPECT_TRUE(made->link.up);
    EXPECT_EQ(made->taps.size(), 1U);
    EXPECT_EQ(made->vhosts.size(), 1U);
}

TEST_F(MacvtapLeaseTest, TheOrderKeepsIpv6OffItAndTheAliasFromWhatNobodyHolds) {
    kernel_.add_link(card());
    ASSERT_TRUE(lease());
    EXPECT_THAT(kernel_.log(),
                ElementsAre("find eth0", "check rights", "find " + device,
                            "create " + device + " on eth0", "find " + device, "no ipv6 " + device,
                            "open " + device, "alias " + device, "up " + device));
}

TEST_F(MacvtapLeaseTest, AFailureAtAnyStepRemovesIt) {
    std::size_t steps = 0;
    for (std::size_t step = 0; step <= steps; ++step) {
        test::FakeKernelNetwork kernel;
        kernel.add_link(card());
        kernel.fail_at(step);
        const auto made = lease(kernel, request());
        if (step == 0) {
            ASSERT_TRUE(made) << made.error().message;
            steps = kernel.calls();
            continue;
        }
        ASSERT_FALSE(made) << step;
        EXPECT_THAT(made.error().message, HasSubstr(kernel.log().at(step - 1) + ": made to fail"));
        EXPECT_EQ(kernel.link_count(), 1U) << "after step " << step;
    }
    EXPECT_EQ(steps, 9U);
}

TEST_F(MacvtapLeaseTest, ItsNodeMayTakeAMomentButNotForEver) {
    kernel_.add_link(card());
    kernel_.missing_nodes = 3;
    ASSERT_TRUE(lease());
    ASSERT_TRUE(forget_macvtap(kernel_, name(device)));
    kernel_.missing_nodes = 1'000'000;
    const auto late = lease(kernel_, request(), std::chrono::milliseconds(50));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, ErrorCode::wrong_state);
    EXPECT_THAT(late.error().message, HasSubstr("put macvtap " + device + " on eth0: no node"));
    EXPECT_EQ(kernel_.link_count(), 1U);
}

TEST_F(MacvtapLeaseTest, ACancelledOneLeavesNothing) {
    kernel_.add_link(card());
    kernel_.missing_nodes = 1'000'000;
    const auto cancelled = [&]() -> boost::asio::awaitable<Result<MacvtapLease>> {
        Error late(ErrorCode::timeout, "cancelled");
        auto leasing = lease_macvtap(kernel_, request(), std::chrono::hours(1));
        co_return co_await with_deadline(std::move(leasing), std::chrono::milliseconds(50),
                                         std::move(late));
    };
    const auto made = test::run_async(context_, cancelled());
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, ErrorCode::timeout);
    EXPECT_EQ(kernel_.link_count(), 1U);
}

TEST_F(MacvtapLeaseTest, AQueueForEachCpuAndNoVhostWithoutIt) {
    kernel_.add_link(card());
    kernel_.has_vhost = false;
    auto wanted = request();
    wanted.queues = 4;
    const auto made = lease(wanted);
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(made->taps.size(), 4U);
    EXPECT_THAT(made->vhosts, IsEmpty());
}

TEST_F(MacvtapLeaseTest, OneThatACrashLeftMakesRoomAndOneInUseDoesNot) {
    kernel_.add_link(card());
    ASSERT_TRUE(lease()) << "its descriptors are closed at once, and it stays";
    ASSERT_TRUE(kernel_.link(device));
    const auto again = lease();
    ASSERT_TRUE(again) << again.error().message;
    const auto third = lease();
    ASSERT_FALSE(third);
    EXPECT_EQ(third.error().code, ErrorCode::already_exists);
    EXPECT_TRUE(kernel_.link(device));
    auto strange = card(device);
    strange.kind = "veth";
    test::FakeKernelNetwork other;
    other.add_link(card());
    other.add_link(strange);
    EXPECT_EQ(lease(other, request()).error().code, ErrorCode::already_exists);
    EXPECT_TRUE(other.link(device));
}

TEST_F(MacvtapLeaseTest, ItIsForgottenWithItsVmAlone) {
    kernel_.add_link(card());
    EXPECT_TRUE(forget_macvtap(kernel_, name(device))) << "there is none";
    ASSERT_TRUE(lease());
    ASSERT_TRUE(forget_macvtap(kernel_, name(device)));
    EXPECT_FALSE(kernel_.link(device));
    auto strange = card(device);
    kernel_.add_link(strange);
    ASSERT_TRUE(forget_macvtap(kernel_, name(device)));
    EXPECT_TRUE(kernel_.link(device)) << "it is no macvtap";
}

TEST_F(MacvtapLeaseTest, ASweepTakesWhatIsOursAndHeldByNobody) {
    kernel_.add_link(card());
    ASSERT_TRUE(lease());
    auto held_one = request();
    held_one.id = "ba9876543210";
    const auto held = lease(held_one);
    ASSERT_TRUE(held);
    auto other = card("macvtap0");
    other.kind = "macvtap";
    kernel_.add_link(other);
    other.name = "nxtap";
    other.alias = "somebody else's";
    kernel_.add_link(other);
    EXPECT_EQ(*sweep_macvtaps(kernel_), 1U);
    EXPECT_FALSE(kernel_.link(device));
    EXPECT_TRUE(kernel_.link("nxba9876543210"));
    EXPECT_TRUE(kernel_.link("macvtap0"));
    EXPECT_TRUE(kernel_.link("nxtap"));
    EXPECT_EQ(*sweep_macvtaps(kernel_), 0U);
}

TEST_F(MacvtapLeaseTest, WhatIsNoFitCardIsToldWithTheFix) {
    const auto refusal = [&](const std::string& called) {
        const auto found = can_use_card(kernel_, name(called));
        EXPECT_FALSE(found) << called;
        return found ? Error() : found.error();
    };
    EXPECT_THAT(refusal("eth0").message, HasSubstr("there is no network device eth0"));
    auto bridge = card("br0");
    bridge.kind = "bridge";
    const auto index = kernel_.add_link(bridge);
    EXPECT_EQ(refusal("br0").hint, "use --network bridge=br0");
    auto port = card("eth1");
    port.master = index;
    kernel_.add_link(port);
    EXPECT_THAT(refusal("eth1").message, HasSubstr("eth1 belongs to br0"));
    EXPECT_EQ(refusal("eth1").hint, "use --network bridge=br0");
    auto tap = card("tap0");
    tap.kind = "tun";
    kernel_.add_link(tap);
    EXPECT_THAT(refusal("tap0").message, HasSubstr("virtual device (tun)"));
    auto down = card("eth2");
    down.up = false;
    kernel_.add_link(down);
    EXPECT_EQ(refusal("eth2").hint, "sudo ip link set eth2 up");
    auto loopback = card("lo");
    loopback.mac = MacAddress();
    kernel_.add_link(loopback);
    EXPECT_THAT(refusal("lo").message, HasSubstr("no Ethernet device"));
    EXPECT_EQ(refusal("lo").code, ErrorCode::host_lacks_bridge);
    kernel_.add_link(card("eth3"));
    kernel_.has_rights = false;
    EXPECT_EQ(refusal("eth3").code, ErrorCode::host_lacks_right);
}

TEST_F(MacvtapLeaseTest, WifiIsRefusedWithTheReason) {
    kernel_.add_link(card("wlan0"));
    const test::TempDir sys;
    std::filesystem::create_directories(sys / "class/net/wlan0/phy80211");
    KernelViews views;
    views.sys = sys.path();
    const auto refused = can_use_card(kernel_, name("wlan0"), views);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("access point"));
    EXPECT_THAT(refused.error().hint, HasSubstr("--network user"));
}

TEST_F(MacvtapLeaseTest, AKernelWithoutItIsTold) {
    kernel_.add_link(card());
    kernel_.has_macvtap = false;
    EXPECT_EQ(lease().error().code, ErrorCode::host_lacks_tool);
}

}  // namespace
}  // namespace noxsup::netbridge
