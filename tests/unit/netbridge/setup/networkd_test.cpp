#include "netbridge/setup/networkd.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fake_setup_host.hpp"
#include "tests/support/golden.hpp"

namespace noxsup::netbridge::setup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

BridgeWish wish() {
    return {"eth0", "br0", MacAddress({0xdc, 0xa6, 0x32, 0x01, 0x02, 0x03})};
}

NetworkdFacts facts(std::vector<std::string> texts,
                    std::string file = "/etc/systemd/network/10-eth0.network") {
    NetworkdFacts facts;
    facts.state = "configured";
    facts.file = std::move(file);
    facts.texts = std::move(texts);
    return facts;
}

std::string refused(const std::string& text) {
    const auto plan = plan_networkd(wish(), facts({text}));
    if (plan) return "taken";
    EXPECT_FALSE(plan.error().hint.empty());
    return plan.error().message;
}

TEST(NetworkdPlan, DhcpMovesWithTheCardsIdentity) {
    auto dhcp = facts({"# of the vendor\n[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n"},
                      "/run/systemd/network/10-netplan-eth0.network");
    dhcp.dhcp_iaid = 3055665102;
    const auto plan = plan_networkd(wish(), dhcp);
    ASSERT_TRUE(plan) << plan.error().message;
    test::expect_golden(describe(*plan), "network/networkd-dhcp.txt");
    EXPECT_EQ(plan->undo_after.front().argv,
              (std::vector<std::string>{"networkctl", "delete", "br0"}));
}

TEST(NetworkdPlan, StaticAddressesOfBothFamiliesMove) {
    const auto plan = plan_networkd(
        wish(), facts({"[Match]\nMACAddress=dc:a6:32:01:02:03\n\n[Link]\nMTUBytes=1400\n"
                       "RequiredForOnline=no\nARP=yes\n\n[Network]\nAddress=192.168.1.5/24\n"
                       "Gateway=192.168.1.1\nDNS=192.168.1.1\nIPv6AcceptRA=no\n\n"
                       "[Address]\nAddress=2001:db8::5/64\nPreferredLifetime=forever\n\n"
                       "[Route]\nGateway=2001:db8::1\n\n[Route]\nDestination=10.0.0.0/8\n"
                       "Gateway=192.168.1.2\n",
                       "[Network]\nDomains=example.org \\\n  lan\n"}));
    ASSERT_TRUE(plan) << plan.error().message;
    test::expect_golden(describe(*plan), "network/networkd-static.txt");
}

TEST(NetworkdPlan, ItsFilesComeBeforeTheCardsOwn) {
    const std::string text = "[Match]\nName=eth0\n[Network]\nDHCP=yes\n";
    for (const auto& [file, first] :
         std::map<std::string, std::string>{{"10-eth0.network", "05-noxsup-br0.netdev"},
                                            {"05-lan.network", "00-noxsup-br0.netdev"},
                                            {"01-lan.network", "00-noxsup-br0.netdev"},
                                            {"lan.network", "05-noxsup-br0.netdev"}}) {
        const auto plan = plan_networkd(wish(), facts({text}, "/etc/systemd/network/" + file));
        ASSERT_TRUE(plan) << file;
        EXPECT_EQ(plan->files.front().path, "/etc/systemd/network/" + first) << file;
    }
    EXPECT_FALSE(plan_networkd(wish(), facts({text}, "/etc/systemd/network/00-00-0.network")));
}

TEST(NetworkdPlan, WhatCannotMoveIsRefused) {
    EXPECT_THAT(refused("[Match]\nName=eth0\n[Network]\nBridge=br7\n"), HasSubstr("Bridge=br7"));
    EXPECT_THAT(refused("[Match]\nName=eth0\n[Network]\nVLAN=vlan5\n"), HasSubstr("VLAN=vlan5"));
    EXPECT_THAT(refused("[Match]\nName=eth0\n[Network]\nBond=bond0\n"), HasSubstr("Bond=bond0"));
    EXPECT_THAT(refused("[Match]\nName=eth0\n[SR-IOV]\nVirtualFunction=1\n"),
                HasSubstr("[SR-IOV]"));
    EXPECT_THAT(refused("[Match]\nName=eth0\nwhat\n"), HasSubstr("\"what\""));
    EXPECT_THAT(refused("Name=eth0\n"), HasSubstr("\"Name=eth0\""));
    EXPECT_THAT(refused("[Match\n"), HasSubstr("\"[Match\""));
}

TEST(NetworkdPlan, AnIaidOfTheUsersStays) {
    auto dhcp = facts({"[Match]\nName=eth0\n[Network]\nDHCP=ipv4\n[DHCPv4]\nIAID=7\n"});
    dhcp.dhcp_iaid = 8;
    const auto plan = plan_networkd(wish(), dhcp);
    ASSERT_TRUE(plan);
    EXPECT_THAT(plan->files[1].after.bytes, HasSubstr("IAID=7\n"));
    EXPECT_EQ(plan->files[1].after.bytes.find("IAID=8"), std::string::npos);
}

TEST(NetworkdFacts, TheIaidIsTheOneOfTheLease) {
    EXPECT_EQ(iaid_of_lease("# private\nADDRESS=10.0.0.5\nCLIENTID=ffb6220feb0002000000ab11\n"),
              0xb6220febU);
    EXPECT_EQ(iaid_of_lease("CLIENTID=01dca632010203\n"), std::nullopt);
    EXPECT_EQ(iaid_of_lease("CLIENTID=ff12\n"), std::nullopt);
    EXPECT_EQ(iaid_of_lease("CLIENTID=ffxxxxxxxx0002\n"), std::nullopt);
    EXPECT_EQ(iaid_of_lease(""), std::nullopt);
}

TEST(NetworkdFacts, ReadsTheFileItNamesAndItsDropIns) {
    test::FakeSetupHost host;
    host.answers["networkctl --json=short status eth0"] =
        R"({"Name":"eth0","AdministrativeState":"configured",)"
        R"("NetworkFile":"/run/systemd/network/10-netplan-eth0.network"})"
        "\n";
    host.add("/run/systemd/network/10-netplan-eth0.network", "main");
    host.add("/etc/systemd/network/10-netplan-eth0.network.d/20-b.conf", "etc b");
    host.add("/run/systemd/network/10-netplan-eth0.network.d/20-b.conf", "run b");
    host.add("/usr/lib/systemd/network/10-netplan-eth0.network.d/10-a.conf", "lib a");
    host.add("/etc/systemd/network/10-netplan-eth0.network.d/README", "no");
    host.add("/run/systemd/netif/leases/3", "CLIENTID=ff0000000a0002\n");
    const auto found = read_networkd(host, "eth0", 3);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_TRUE(found->manages());
    EXPECT_THAT(found->texts, ElementsAre("main", "lib a", "etc b"));
    EXPECT_EQ(found->dhcp_iaid, 10U);
}

TEST(NetworkdFacts, AHostWithoutItHasNone) {
    test::FakeSetupHost host;
    EXPECT_FALSE(read_networkd(host, "eth0", 3)->manages());
    host.answers["networkctl --json=short status eth0"] =
        R"({"Name":"eth0","AdministrativeState":"unmanaged"})";
    EXPECT_FALSE(read_networkd(host, "eth0", 3)->manages());
    host.answers["networkctl --json=short status eth0"] = "no json";
    EXPECT_FALSE(read_networkd(host, "eth0", 3)->manages());
    host.answers["networkctl --json=short status eth0"] =
        R"({"AdministrativeState":"configured","NetworkFile":"/etc/gone.network"})";
    EXPECT_FALSE(read_networkd(host, "eth0", 3));
}

}  // namespace
}  // namespace noxsup::netbridge::setup
