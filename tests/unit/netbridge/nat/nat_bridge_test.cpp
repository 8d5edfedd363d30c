#include "netbridge/nat/nat_bridge.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "netbridge/nat/forwarding.hpp"
#include "tests/support/fake_kernel_network.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::netbridge {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const NatSubnet subnet = *NatSubnet::parse("10.213.77.0/24");
const NatOwner owner = NatOwner::of("/var/lib/noxsup");

IpCidr cidr(std::string_view address, unsigned length) {
    return {*parse_ip(address), length};
}

Link device(const std::string& name, const std::string& kind = {}) {
    Link link;
    link.name = name;
    link.kind = kind;
    link.up = true;
    return link;
}

TEST(NatOwner, IsTheSameForTheSameHomeAlone) {
    EXPECT_EQ(NatOwner::of("/var/lib/noxsup").id, owner.id);
    EXPECT_EQ(owner.id.size(), 16U);
    EXPECT_EQ(owner.alias, "noxsup-nat:/var/lib/noxsup");
    EXPECT_NE(NatOwner::of("/root/.nox").id, owner.id);
    EXPECT_NE(NatOwner::of("/root/.nox").mac, owner.mac);
    EXPECT_THAT(owner.mac.to_string(), testing::StartsWith("52:55:"));
    const auto long_home = NatOwner::of("/" + std::string(500, 'x'));
    EXPECT_LT(long_home.alias.size(), 256U);
}

TEST(NatBridge, IsMadeWithTheHostsAddressAndUp) {
    test::FakeKernelNetwork kernel;
    const auto made = make_nat_bridge(kernel, owner, subnet);
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(made->kind, "bridge");
    EXPECT_EQ(made->alias, owner.alias);
    EXPECT_EQ(made->mac, owner.mac);
    EXPECT_TRUE(made->up);
    EXPECT_THAT(*kernel.addresses(*made), ElementsAre(cidr("10.213.77.1", 24)));
    // A second time there is nothing to do.
    const auto calls = kernel.log().size();
    ASSERT_TRUE(make_nat_bridge(kernel, owner, subnet));
    for (auto i = calls; i < kernel.log().size(); ++i)
        EXPECT_THAT(kernel.log()[i], testing::StartsWith("find "));
    ASSERT_TRUE(remove_nat_bridge(kernel, owner));
    EXPECT_EQ(kernel.link_count(), 0U);
    EXPECT_TRUE(remove_nat_bridge(kernel, owner)) << "what is gone is gone";
}

TEST(NatBridge, AFailureAtAnyStepLeavesNone) {
    test::FakeKernelNetwork whole;
    ASSERT_TRUE(make_nat_bridge(whole, owner, subnet));
    ASSERT_GT(whole.calls(), 5U);
    for (std::size_t step = 1; step <= whole.calls(); ++step) {
        test::FakeKernelNetwork kernel;
        kernel.fail_at(step);
        const auto made = make_nat_bridge(kernel, owner, subnet);
        ASSERT_FALSE(made) << step;
        EXPECT_THAT(made.error().message, HasSubstr("made to fail"));
        if (kernel.link_count() == 0) continue;
        // Where its device could not be looked at; its address tells whose it is.
        EXPECT_EQ(whole.log()[step - 1], "find noxbr0");
        kernel.fail_at(0);
        EXPECT_TRUE(remove_nat_bridge(kernel, owner));
        EXPECT_EQ(kernel.link_count(), 0U);
    }
}

TEST(NatBridge, OneThatACrashLeftHalfMadeIsCompleted) {
    test::FakeKernelNetwork kernel;
    ASSERT_TRUE(kernel.create_bridge(*InterfaceName::parse("noxbr0"), owner.mac));
    const auto made = make_nat_bridge(kernel, owner, subnet);
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(made->alias, owner.alias);
    EXPECT_TRUE(made->up);
}

TEST(NatBridge, AnotherNetworkMakesItAnew) {
    test::FakeKernelNetwork kernel;
    const auto first = make_nat_bridge(kernel, owner, *NatSubnet::parse("10.141.77.0/24"));
    const auto second = make_nat_bridge(kernel, owner, subnet);
    ASSERT_TRUE(second);
    EXPECT_NE(second->index, first->index);
    EXPECT_THAT(*kernel.addresses(*second), ElementsAre(cidr("10.213.77.1", 24)));
}

TEST(NatBridge, AnothersIsLeftAlone) {
    test::FakeKernelNetwork kernel;
    kernel.add_link(device("noxbr0", "bridge"));
    auto refused = make_nat_bridge(kernel, owner, subnet);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::already_exists);
    EXPECT_THAT(refused.error().message, HasSubstr("noxsup did not make"));
    EXPECT_TRUE(remove_nat_bridge(kernel, owner));
    EXPECT_EQ(kernel.link_count(), 1U);

    test::FakeKernelNetwork shared;
    ASSERT_TRUE(make_nat_bridge(shared, NatOwner::of("/root/.nox"), subnet));
    refused = make_nat_bridge(shared, owner, subnet);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("/root/.nox"));
    EXPECT_TRUE(remove_nat_bridge(shared, owner));
    EXPECT_EQ(shared.link_count(), 1U);
}

TEST(NatBridge, KnowsWhetherItHasPorts) {
    test::FakeKernelNetwork kernel;
    const auto bridge = make_nat_bridge(kernel, owner, subnet);
    EXPECT_FALSE(*has_ports(kernel, *bridge));
    auto port = device("nx0", "tun");
    port.master = bridge->index;
    kernel.add_link(port);
    EXPECT_TRUE(*has_ports(kernel, *bridge));
}

TEST(HostNetworks, AreAddressesAndRoutesButTheWideOnesAndOurs) {
    test::FakeKernelNetwork kernel;
    const int card = kernel.add_link(device("eth0"));
    const auto bridge = make_nat_bridge(kernel, owner, subnet);
    kernel.own_addresses = {cidr("192.168.1.20", 24), cidr("fd00::1", 64)};
    kernel.host_routes = {{cidr("0.0.0.0", 0), card},
                          {cidr("128.0.0.0", 1), card},
                          {cidr("10.0.0.0", 8), card},
                          {cidr("172.16.9.0", 24), 0},
                          {cidr("10.213.77.0", 24), bridge->index}};
    const auto networks = host_networks(kernel, *InterfaceName::parse("noxbr0"));
    ASSERT_TRUE(networks);
    EXPECT_THAT(*networks,
                ElementsAre(cidr("192.168.1.20", 24), cidr("10.0.0.0", 8), cidr("172.16.9.0", 24)));
}

TEST(Forwarding, IsReadAndSwitchedByTheKernelsFiles) {
    const test::TempDir dir;
    KernelViews views;
    views.proc = dir.path();
    EXPECT_FALSE(forwards_everywhere(views));
    dir.write("sys/net/ipv4/ip_forward", "1\n");
    dir.write("sys/net/ipv4/conf/eth0.7/forwarding", "0\n");
    EXPECT_TRUE(forwards_everywhere(views));
    EXPECT_FALSE(forwards("eth0.7", views));
    ASSERT_TRUE(set_forwarding("eth0.7", true, views));
    EXPECT_TRUE(forwards("eth0.7", views));
    ASSERT_TRUE(set_forwarding("eth0.7", false, views));
    EXPECT_FALSE(forwards("eth0.7", views));
    const auto missing = set_forwarding("eth1", true, views);
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, ErrorCode::host_lacks_right);
    EXPECT_THAT(missing.error().message, HasSubstr("forwarding on for eth1"));
}

TEST(Forwarding, IsForDevicesThatAnswersComeBackOn) {
    test::FakeKernelNetwork kernel;
    const int loopback = kernel.add_link(device("lo"));
    const int card = kernel.add_link(device("eth0"));
    const int vpn = kernel.add_link(device("wg0"));
    kernel.add_link(device("eth1"));
    const auto bridge = make_nat_bridge(kernel, owner, subnet);
    kernel.host_routes = {{cidr("0.0.0.0", 0), card},
                          {cidr("10.8.0.0", 24), vpn},
                          {cidr("10.9.0.0", 24), loopback},
                          {cidr("10.213.77.0", 24), bridge->index}};
    EXPECT_THAT(*answering_devices(kernel, *InterfaceName::parse("noxbr0")),
                ElementsAre("eth0", "wg0"));
}

}  // namespace
}  // namespace noxsup::netbridge
