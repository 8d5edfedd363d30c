#include "netbridge/setup/ifupdown.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fake_setup_host.hpp"
#include "tests/support/golden.hpp"

namespace noxsup::netbridge::setup {
namespace {

using ::testing::HasSubstr;

constexpr const char* main_file = "/etc/network/interfaces";

BridgeWish wish() {
    return {"eth0", "br0", MacAddress({0xdc, 0xa6, 0x32, 0x01, 0x02, 0x03})};
}

IfupdownFacts facts(const std::string& text) {
    IfupdownFacts facts;
    facts.up = true;
    facts.files = {{main_file, {text, 0644, 0, 0}}};
    return facts;
}

std::string refused(const std::string& text) {
    const auto plan = plan_ifupdown(wish(), facts(text));
    if (plan) return "taken";
    EXPECT_FALSE(plan.error().hint.empty());
    return plan.error().message;
}

TEST(IfupdownPlan, DhcpMoves) {
    const auto plan = plan_ifupdown(
        wish(), facts("# The loopback network interface\nauto lo\niface lo inet loopback\n\n"
                      "# The primary network interface\nallow-hotplug eth0\niface eth0 inet dhcp\n"
                      "# This is an autoconfigured IPv6 interface\niface eth0 inet6 auto\n"));
    ASSERT_TRUE(plan) << plan.error().message;
    test::expect_golden(describe(*plan), "network/ifupdown-dhcp.txt");
}

TEST(IfupdownPlan, StaticAddressesOfBothFamiliesMove) {
    const auto plan = plan_ifupdown(
        wish(), facts("source /etc/network/interfaces.d/*\nauto lo eth0 eth1\n"
                      "iface lo inet loopback\niface eth0 inet static\n\taddress 192.168.1.5/24\n"
                      "\tgateway 192.168.1.1\n\tdns-nameservers 192.168.1.1 9.9.9.9\n"
                      "\tpost-up ip route add 10.0.0.0/8 via 192.168.1.2 dev $IFACE\n"
                      "iface eth0 inet6 static\n    address 2001:db8::5/64\n"
                      "    gateway 2001:db8::1\niface eth1 inet manual\n"));
    ASSERT_TRUE(plan) << plan.error().message;
    test::expect_golden(describe(*plan), "network/ifupdown-static.txt");
}

TEST(IfupdownPlan, OnlyFilesThatNameTheCardChange) {
    auto several = facts("source interfaces.d/*\nauto lo\niface lo inet loopback");
    several.files.push_back(
        {"/etc/network/interfaces.d/lan", {"auto eth0\niface eth0 inet dhcp", 0600, 0, 7}});
    const auto plan = plan_ifupdown(wish(), several);
    ASSERT_TRUE(plan) << plan.error().message;
    ASSERT_EQ(plan->files.size(), 1U);
    EXPECT_EQ(plan->files[0].path, "/etc/network/interfaces.d/lan");
    EXPECT_EQ(plan->files[0].after.mode, 0600U);
    EXPECT_EQ(plan->files[0].after.gid, 7U);
    EXPECT_EQ(plan->files[0].before->bytes, "auto eth0\niface eth0 inet dhcp");
}

TEST(IfupdownPlan, FormsThatItDoesNotUnderstandAreRefused) {
    const std::string head = "auto eth0\niface eth0 inet static\n  address 10.0.0.2/24\n";
    EXPECT_THAT(refused("iface eth0 inet ppp\n"), HasSubstr("iface eth0 inet ppp"));
    EXPECT_THAT(refused("iface eth0 inet dhcp inherits lan\n"), HasSubstr("inherits"));
    EXPECT_THAT(refused(head + "  bridge_ports none\n"), HasSubstr("bridge_ports"));
    EXPECT_THAT(refused(head + "  wpa-ssid home\n"), HasSubstr("wpa-ssid"));
    EXPECT_THAT(refused(head + "  up ethtool -s eth0 wol g\n"), HasSubstr("ethtool"));
    EXPECT_THAT(refused(head + "iface eth0:1 inet static\n"), HasSubstr("eth0:1"));
    EXPECT_THAT(refused(head + "iface eth0.5 inet dhcp\n"), HasSubstr("eth0.5"));
    EXPECT_THAT(refused(head + "iface vlan5 inet dhcp\n  vlan-raw-device eth0\n"),
                HasSubstr("vlan-raw-device"));
    EXPECT_THAT(refused(head + "mapping eth0\n  script /bin/x\n"), HasSubstr("mapping"));
    EXPECT_THAT(refused(head + "  gateway \\\n 10.0.0.1\n"), HasSubstr("gateway"));
    EXPECT_THAT(refused(head + "iface br0 inet manual\n"), HasSubstr("br0"));
    EXPECT_THAT(refused("auto br0\n" + head), HasSubstr("br0"));
    EXPECT_THAT(refused("auto /eth*\niface /eth*=lan inet dhcp\n"), HasSubstr("no stanza"));
    EXPECT_THAT(refused(head + "no-auto-down eth0\n"), HasSubstr("no-auto-down"));
}

TEST(IfupdownPlan, OtherInterfacesMayHaveSimilarNames) {
    const auto plan = plan_ifupdown(
        wish(), facts("auto eth0\niface eth0 inet dhcp\nauto eth01\niface eth01 inet ppp\n"
                      "  provider weth0\n  up echo br00 \\\n   x\n"));
    EXPECT_TRUE(plan) << plan.error().message;
}

TEST(IfupdownFacts, FollowsWhatIsSourced) {
    test::FakeSetupHost host;
    host.answers["ifquery --state eth0"] = "eth0=eth0\n";
    host.add(main_file, "source /etc/network/interfaces.d/*\nsource-directory more\nsource none\n");
    host.add("/etc/network/interfaces.d/lan", "source /etc/network/interfaces\n");
    host.add("/etc/network/interfaces.d/.hidden", "");
    host.add("/etc/network/more/one", "");
    host.add("/etc/network/more/one.dpkg-old", "");
    const auto found = read_ifupdown(host, "eth0");
    ASSERT_TRUE(found) << found.error().message;
    std::vector<std::string> paths;
    for (const auto& file : found->files) paths.push_back(file.path);
    EXPECT_THAT(paths, ::testing::ElementsAre(main_file, "/etc/network/interfaces.d/lan",
                                              "/etc/network/more/one"));
}

TEST(IfupdownFacts, OnlyOneThatIsUpUnderItsOwnNameCounts) {
    test::FakeSetupHost host;
    host.add(main_file, "iface eth0 inet dhcp\n");
    EXPECT_FALSE(read_ifupdown(host, "eth0")->manages());
    host.answers["ifquery --state eth0"] = "";
    EXPECT_FALSE(read_ifupdown(host, "eth0")->manages());
    host.answers["ifquery --state eth0"] = "eth0=lan\n";
    EXPECT_FALSE(read_ifupdown(host, "eth0")->manages());
    host.answers["ifquery --state eth0"] = "eth0=eth0\n";
    EXPECT_TRUE(read_ifupdown(host, "eth0")->manages());
    host.add(main_file, "source /etc/*/x\n");
    EXPECT_FALSE(read_ifupdown(host, "eth0"));
}

}  // namespace
}  // namespace noxsup::netbridge::setup
