#include "supervisor/daemon/nat_state.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.hpp"

namespace noxsup::daemon {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

const std::string first = "52:54:00:00:00:01";
const std::string second = "52:54:00:00:00:02";
const std::string third = "52:54:00:00:00:03";

NatState whole() {
    NatState state;
    state.subnet = *netbridge::NatSubnet::parse("10.213.77.0/24");
    state.hosts = {{first, 2}, {second, 3}};
    state.last_given = 3;
    state.forwarding = {"eth0"};
    state.boot_id = "9a51";
    state.dnsmasq = launch::ProcessIdentity{4242, 99, "9a51"};
    state.bridge_index = 7;
    return state;
}

TEST(NatState, IsReadBackAsItWasWritten) {
    const test::TempDir dir;
    EXPECT_EQ(*load_nat_state(dir / "state.json"), NatState());
    ASSERT_TRUE(save_nat_state(dir / "state.json", whole()));
    EXPECT_EQ(*load_nat_state(dir / "state.json"), whole());
    EXPECT_EQ(*nat_state_from_json(to_json(NatState())), NatState());
}

TEST(NatState, WhatIsWrongInTheFileIsAnError) {
    const auto wrong = [](const char* key, const Json& value) {
        auto json = to_json(whole());
        json[key] = value;
        return nat_state_from_json(json);
    };
    EXPECT_FALSE(wrong("version", 2));
    EXPECT_FALSE(wrong("subnet", "8.8.8.0/24"));
    EXPECT_FALSE(wrong("hosts", Json{{"not a mac", 2}}));
    EXPECT_FALSE(wrong("hosts", Json{{first, 300}}));
    EXPECT_FALSE(wrong("hosts", 3));
    EXPECT_FALSE(wrong("forwarding", "eth0"));
    EXPECT_FALSE(wrong("dnsmasq", Json{{"pid", 1}}));
    EXPECT_THAT(wrong("hosts", Json{{first, 1}, {second, 200}})->hosts, IsEmpty())
        << "those are not kept for VMs";
    EXPECT_FALSE(nat_state_from_json(Json::array()));
    const test::TempDir dir;
    dir.write("state.json", "{");
    EXPECT_FALSE(load_nat_state(dir / "state.json"));
}

TEST(NatAddresses, StayWithTheirVmsAndAreForgottenWithThem) {
    NatState state;
    reserve_addresses(state, {{"a", first}, {"b", second}}, {});
    EXPECT_THAT(state.hosts, ElementsAre(Pair(first, 2), Pair(second, 3)));
    reserve_addresses(state, {{"renamed", second}}, {});
    EXPECT_THAT(state.hosts, ElementsAre(Pair(second, 3)));
    reserve_addresses(state, {{"renamed", second}, {"c", third}}, {});
    EXPECT_EQ(state.hosts.at(third), 4) << "the one that was given up rests";
    const auto before = state;
    reserve_addresses(state, {{"renamed", second}, {"c", third}}, {3, 4});
    EXPECT_EQ(state, before);
}

TEST(NatAddresses, GoRoundAndAvoidWhatIsLeased) {
    NatState state;
    state.last_given = netbridge::NatSubnet::last_reserved;
    reserve_addresses(state, {{"a", first}}, {2, 3});
    EXPECT_EQ(state.hosts.at(first), 4);
    std::vector<NatGuest> many;
    for (int i = 0; i < 250; ++i) {
        const auto mac = netbridge::MacAddress({0x52, 0x54, 0, 1, 1, static_cast<std::uint8_t>(i)});
        many.push_back({"vm" + std::to_string(i), mac.to_string()});
    }
    std::set<std::uint8_t> all_leased;
    for (std::uint8_t last = 1; last < 255; ++last) all_leased.insert(last);
    reserve_addresses(state, many, all_leased);
    EXPECT_THAT(state.hosts, SizeIs(198)) << "the rest gets what DHCP has";
    std::set<std::uint8_t> given;
    for (const auto& [mac, last] : state.hosts) given.insert(last);
    EXPECT_THAT(given, SizeIs(198));
    EXPECT_GE(*given.begin(), netbridge::NatSubnet::first_reserved);
    EXPECT_LE(*given.rbegin(), netbridge::NatSubnet::last_reserved);
}

TEST(NatHosts, AreTheGuestsByNameWithTheirAddresses) {
    const auto hosts = nat_hosts(whole(), {{"web", first}, {"db", second}, {"none", third}});
    ASSERT_THAT(hosts, SizeIs(2));
    EXPECT_EQ(hosts[0].name, "db");
    EXPECT_EQ(hosts[0].address.to_string(), "10.213.77.3");
    EXPECT_EQ(hosts[1].name, "web");
    EXPECT_EQ(hosts[1].mac.to_string(), first);
}

}  // namespace
}  // namespace noxsup::daemon
