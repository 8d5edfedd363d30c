#include "netbridge/setup/network_manager.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fake_setup_host.hpp"
#include "tests/support/golden.hpp"

namespace noxsup::netbridge::setup {
namespace {

using ::testing::HasSubstr;

const ProfileIds ids{"11111111-1111-4111-8111-111111111111",
                     "22222222-2222-4222-8222-222222222222"};

BridgeWish wish() {
    return {"eth0", "br0", MacAddress({0xdc, 0xa6, 0x32, 0x01, 0x02, 0x03})};
}

NetworkManagerFacts facts(const std::string& text) {
    NetworkManagerFacts facts;
    facts.state = 100;
    facts.uuid = "33333333-3333-4333-8333-333333333333";
    facts.file = "/run/NetworkManager/system-connections/Wired connection 1.nmconnection";
    facts.text = text;
    return facts;
}

std::string refused(const std::string& text) {
    const auto plan = plan_network_manager(wish(), facts(text), ids);
    if (plan) return "taken";
    EXPECT_FALSE(plan.error().hint.empty());
    return plan.error().message;
}

TEST(NetworkManagerPlan, DhcpMoves) {
    const auto plan = plan_network_manager(
        wish(),
        facts("[connection]\nid=Wired connection 1\nuuid=33333333-3333-4333-8333-333333333333\n"
              "type=ethernet\nautoconnect-priority=-999\ninterface-name=eth0\n"
              "timestamp=1700000000\n\n[ethernet]\n\n[ipv4]\nmethod=auto\n\n[ipv6]\n"
              "addr-gen-mode=default\nmethod=auto\n\n[proxy]\n\n"
              "[user]\norg.freedesktop.NetworkManager.origin=nm-initrd-generator\n"),
        ids);
    ASSERT_TRUE(plan) << plan.error().message;
    test::expect_golden(describe(*plan), "network/network-manager-dhcp.txt");
}

TEST(NetworkManagerPlan, StaticAddressesOfBothFamiliesMove) {
    const auto plan = plan_network_manager(
        wish(),
        facts(
            "[connection]\nid=lan\nuuid=33333333-3333-4333-8333-333333333333\ntype=802-3-ethernet\n"
            "zone=home\nmdns=2\n\n[802-3-ethernet]\nmtu=1400\nmac-address=DC:A6:32:01:02:03\n\n"
            "[ipv4]\naddress1=192.168.1.5/24,192.168.1.1\ndns=192.168.1.1;9.9.9.9;\n"
            "method=manual\nroute1=10.0.0.0/8,192.168.1.2\n\n[ipv6]\n"
            "address1=2001:db8::5/64\ngateway=2001:db8::1\nmethod=manual\n"),
        ids);
    ASSERT_TRUE(plan) << plan.error().message;
    test::expect_golden(describe(*plan), "network/network-manager-static.txt");
}

TEST(NetworkManagerPlan, WhatCannotMoveIsRefused) {
    const std::string head = "[connection]\nid=a\ntype=ethernet\n";
    EXPECT_THAT(refused("[connection]\ntype=wifi\n"), HasSubstr("wifi"));
    EXPECT_THAT(refused(head + "[802-1x]\neap=tls\n"), HasSubstr("802-1x"));
    EXPECT_THAT(refused(head + "master=bond0\n"), HasSubstr("master"));
    EXPECT_THAT(refused(head + "secondaries=x\n"), HasSubstr("secondaries"));
    EXPECT_THAT(refused(head + "[ipv4]\nmethod=shared\n"), HasSubstr("shared"));
    EXPECT_THAT(refused(head + "[ipv4]\nnonsense\n"), HasSubstr("nonsense"));
}

TEST(NetworkManagerFacts, ReadsTheProfileOfTheCard) {
    test::FakeSetupHost host;
    host.answers
        ["nmcli --terse --escape no --fields GENERAL.STATE,GENERAL.CON-UUID device show eth0"] =
        "GENERAL.STATE:100 (connected)\nGENERAL.CON-UUID:u-1\n";
    const std::string list = "nmcli --terse --escape no --fields UUID,FILENAME connection show";
    host.answers[list] = "u-0:/etc/a.nmconnection\nu-1:/run/b: c.nmconnection\n";
    host.add("/run/b: c.nmconnection", "text");
    const auto found = read_network_manager(host, "eth0");
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_TRUE(found->manages());
    EXPECT_EQ(found->uuid, "u-1");
    EXPECT_EQ(found->text, "text");
    host.answers[list] = "u-1:/etc/sysconfig/network-scripts/ifcfg-eth0\n";
    EXPECT_THAT(read_network_manager(host, "eth0").error().message, HasSubstr("ifcfg-eth0"));
}

TEST(NetworkManagerFacts, OneThatItOnlyLooksAtIsNotItsOwn) {
    test::FakeSetupHost host;
    EXPECT_FALSE(read_network_manager(host, "eth0")->manages());
    for (const auto* state : {"10 (unmanaged)", "20 (unavailable)", "30 (disconnected)",
                              "100 (connected (externally))", "", "x"}) {
        host.answers
            ["nmcli --terse --escape no --fields GENERAL.STATE,GENERAL.CON-UUID device "
             "show eth0"] = std::string("GENERAL.STATE:") + state + "\n";
        EXPECT_FALSE(read_network_manager(host, "eth0")->manages()) << state;
    }
}

}  // namespace
}  // namespace noxsup::netbridge::setup
