#include "netbridge/kernel_network.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <thread>

#include "netbridge/bridge.hpp"
#include "tests/component/netbridge/bridge_fixture.hpp"

namespace noxsup::netbridge {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class KernelNetworkTest : public BridgeTest {};

TEST_F(KernelNetworkTest, TellsLinksAsTheyAre) {
    test::run_program({"ip", "link", "add", "ve0", "address", "02:00:00:00:00:07", "type", "veth",
                       "peer", "name", "ve1"});
    test::run_program({"ip", "link", "set", "ve0", "alias", "a name", "mtu", "1300"});
    test::run_program({"ip", "link", "set", "ve0", "master", "br0", "up"});
    const auto card = find("ve0");
    EXPECT_EQ(card.kind, "veth");
    EXPECT_EQ(card.alias, "a name");
    EXPECT_EQ(card.mtu, 1300U);
    EXPECT_EQ(card.mac.to_string(), "02:00:00:00:00:07");
    EXPECT_TRUE(card.up);
    EXPECT_FALSE(find("ve1").up);
    EXPECT_EQ(card.master, find("br0").index);
    EXPECT_EQ(find("ve1").master, 0);
    EXPECT_EQ(find("br0").kind, "bridge");
    const auto all = kernel_->links();
    ASSERT_TRUE(all);
    std::vector<std::string> names;
    for (const auto& link : *all) names.push_back(link.name);
    EXPECT_THAT(names, testing::IsSupersetOf({"lo", "br0", "ve0", "ve1"}));
    const auto missing = kernel_->find_link(name("nothing"));
    ASSERT_TRUE(missing);
    EXPECT_FALSE(*missing);
}

TEST_F(KernelNetworkTest, TellsWhetherABridgesAddressIsFixed) {
    EXPECT_FALSE(find("br0").fixed_mac);
    ASSERT_TRUE(kernel_->set_mac(find("br0"), find("br0").mac));
    EXPECT_TRUE(find("br0").fixed_mac);
}

TEST_F(KernelNetworkTest, ATapIsMadeAsQemuWantsIt) {
    const auto tap = kernel_->create_tap(name("nx1"), 1);
    ASSERT_TRUE(tap) << tap.error().message;
    ifreq request{};
    ASSERT_EQ(::ioctl(tap->front().get(), TUNGETIFF, &request), 0);
    EXPECT_EQ(request.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_PERSIST),
              IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
    EXPECT_NE(::fcntl(tap->front().get(), F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_EQ(find("nx1").kind, "tun");
}

TEST_F(KernelNetworkTest, APersistentTapOfTheNameIsNeverJoined) {
    test::run_program({"ip", "tuntap", "add", "nx1", "mode", "tap"});
    const auto tap = kernel_->create_tap(name("nx1"), 1);
    ASSERT_FALSE(tap);
    EXPECT_EQ(tap.error().code, ErrorCode::already_exists);
    EXPECT_THAT(tap.error().message, HasSubstr("nx1"));
    EXPECT_TRUE(*kernel_->find_link(name("nx1"))) << "it was not ours to remove";
}

TEST_F(KernelNetworkTest, WithoutTheRightItSaysSoAndHowToGetIt) {
    const auto device = find("lo");
    const test::WithoutCapability less(CAP_NET_ADMIN);
    for (const auto& error :
         {kernel_->check_rights().error(), kernel_->create_tap(name("nx1"), 1).error(),
          kernel_->set_mtu(device, 1300).error(), kernel_->set_up(device, false).error(),
          can_use_bridge(*kernel_, name("br0")).error()}) {
        EXPECT_EQ(error.code, ErrorCode::host_lacks_right);
        EXPECT_THAT(error.message, HasSubstr("CAP_NET_ADMIN"));
        EXPECT_THAT(error.hint, HasSubstr("--network user"));
    }
}

TEST_F(KernelNetworkTest, AskingForRightsChangesNothing) {
    const auto before = test::run_program({"ip", "link"});
    EXPECT_TRUE(kernel_->check_rights());
    EXPECT_TRUE(can_use_bridge(*kernel_, name("br0")));
    EXPECT_EQ(test::run_program({"ip", "link"}), before);
    EXPECT_FALSE(find("br0").fixed_mac);
}

TEST_F(KernelNetworkTest, WhatIsNoUsableBridgeIsTold) {
    const auto none = can_use_bridge(*kernel_, name("br7"));
    EXPECT_EQ(none.error().code, ErrorCode::host_lacks_bridge);
    EXPECT_THAT(none.error().message, HasSubstr("no bridge br7"));
    EXPECT_THAT(can_use_bridge(*kernel_, name("lo")).error().message, HasSubstr("no bridge"));
    test::run_program({"ip", "link", "set", "br0", "down"});
    EXPECT_EQ(can_use_bridge(*kernel_, name("br0")).error().hint, "sudo ip link set br0 up");
}

TEST_F(KernelNetworkTest, AnErrorNamesStepAndDevice) {
    const auto mtu = kernel_->set_mtu(find("br0"), 70'000'000);
    ASSERT_FALSE(mtu);
    EXPECT_EQ(mtu.error().code, ErrorCode::io_error);
    EXPECT_THAT(mtu.error().message, StartsWith("set MTU 70000000 of br0: "));
    Link gone = find("br0");
    gone.index = 4711;
    EXPECT_THAT(kernel_->set_up(gone, true).error().message, HasSubstr("No such device"));
}

TEST_F(KernelNetworkTest, TellsNeighboursOfBothFamilies) {
    test::run_program({"ip", "neigh", "add", "192.168.77.9", "lladdr", "02:00:00:00:00:09", "dev",
                       "br0", "nud", "permanent"});
    test::run_program({"ip", "neigh", "add", "fd00::9", "lladdr", "02:00:00:00:00:09", "dev", "br0",
                       "nud", "stale"});
    const auto table = kernel_->neighbours();
    ASSERT_TRUE(table);
    const int bridge = find("br0").index;
    const MacAddress mac({2, 0, 0, 0, 0, 9});
    EXPECT_THAT(*table,
                testing::IsSupersetOf(
                    {Neighbour{bridge, *parse_ip("192.168.77.9"), mac, NeighbourState::confirmed},
                     Neighbour{bridge, *parse_ip("fd00::9"), mac, NeighbourState::remembered}}));
}

TEST_F(KernelNetworkTest, ServesSeveralThreads) {
    std::vector<std::thread> threads;
    std::atomic<int> good = 0;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int k = 0; k < 50; ++k) {
                const auto link = kernel_->find_link(name("br0"));
                const auto all = kernel_->links();
                if (link && *link && (*link)->name == "br0" && all && all->size() >= 2) ++good;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(good, 200);
}

}  // namespace
}  // namespace noxsup::netbridge
