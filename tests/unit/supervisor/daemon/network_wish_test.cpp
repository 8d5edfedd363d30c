#include "supervisor/daemon/network_wish.hpp"

#include <gmock/gmock.h>

namespace noxsup::daemon {
namespace {

using spec::NetworkMode;
using testing::HasSubstr;

NetworkWish wish_of(std::string_view text) {
    auto wish = parse_network_wish(text);
    EXPECT_TRUE(wish) << text << ": " << wish.error().message;
    return wish ? *wish : NetworkWish();
}

std::string refusal_of(std::string_view text) {
    const auto wish = parse_network_wish(text);
    if (wish) return "taken";
    EXPECT_EQ(wish.error().code, ErrorCode::invalid_argument);
    return wish.error().message + " (" + wish.error().hint + ")";
}

std::string refusal_of_call(const Json& params) {
    const auto wishes = parse_network_wishes(params, state::Config());
    if (wishes) return "taken";
    EXPECT_EQ(wishes.error().code, ErrorCode::invalid_argument);
    return wishes.error().message + " (" + wishes.error().hint + ")";
}

TEST(NetworkWishTest, ACardThatComesLaterSaysWhereItIs) {
    const auto refused = [](std::string_view text) {
        const auto wish = parse_further_network(text);
        return wish ? std::string("taken") : wish.error().message + " (" + wish.error().hint + ")";
    };
    EXPECT_EQ(refused("bridge=br1,vlan=20,isolated"), "taken");
    EXPECT_EQ(refused("nat,publish=8080:80"), "taken");
    EXPECT_EQ(refused("bridge,ip=10.9.0.5/24"), "taken");
    EXPECT_EQ(parse_further_network("bridge,ip=10.9.0.5/24")->address->cidr, "10.9.0.5/24");
    for (const auto* text : {"", ",isolated", ",publish=8080:80"})
        EXPECT_THAT(refused(text), HasSubstr("name what the card is connected to")) << text;
    for (const auto* rest : {",gateway=10.9.0.1", ",dns=10.9.0.1"}) {
        EXPECT_THAT(refused(std::string("bridge,ip=10.9.0.5/24") + rest),
                    HasSubstr("set them inside it"));
    }
    EXPECT_EQ(refused("bridge,vlan=4095"), refusal_of("bridge,vlan=4095"));
}

TEST(NetworkWishTest, ModesAndBridges) {
    EXPECT_EQ(wish_of("").mode, std::nullopt);
    EXPECT_EQ(wish_of("user").mode, NetworkMode::user);
    EXPECT_EQ(wish_of("bridge").mode, NetworkMode::bridge);
    EXPECT_EQ(wish_of("bridge").bridge, "");
    EXPECT_EQ(wish_of("bridge=br1").bridge, "br1");
    EXPECT_EQ(wish_of("eth0").mode, NetworkMode::macvtap);
    EXPECT_EQ(wish_of("eth0,mac=52:54:00:00:00:01").bridge, "eth0");
    EXPECT_THAT(refusal_of("bridge="), HasSubstr("use user, nat, bridge, bridge=NAME"));
    for (const auto* text : {"eth0=1", "a card", "eth0:1", "anamewithtoomanycharacters"})
        EXPECT_THAT(refusal_of(text), HasSubstr("the name of a network card")) << text;
}

TEST(NetworkWishTest, BehindNatTheAddressIsGiven) {
    const auto wish = wish_of("nat,isolated,rate=10M,mac=52:54:00:aa:bb:01");
    EXPECT_EQ(wish.mode, NetworkMode::nat);
    EXPECT_EQ(wish.bridge, "");
    EXPECT_TRUE(wish.isolated);
    EXPECT_EQ(wish.rate, 10'000'000U);
    EXPECT_THAT(refusal_of("nat=br1"), HasSubstr("use user, nat"));
    EXPECT_THAT(refusal_of("nat,ip=10.213.77.9/24"), HasSubstr("an address that it keeps"));
    EXPECT_THAT(refusal_of("nat,vlan=7"), HasSubstr("--vlan goes with"));
    EXPECT_EQ(wish_of("nat,publish=8080:80").publish.size(), 1U);
}

TEST(NetworkWishTest, SettingsOfOneCard) {
    const auto wish = wish_of(
        "bridge=br1,mac=52:54:00:AA:bb:01,ip=10.1.0.5/24,gateway=10.1.0.1,dns=10.1.0.2,"
        "dns=10.1.0.3,rate=10M,isolated,allow-spoofing");
    EXPECT_EQ(wish.mac, "52:54:00:aa:bb:01");
    ASSERT_TRUE(wish.address);
    EXPECT_EQ(wish.address->cidr, "10.1.0.5/24");
    EXPECT_EQ(wish.address->gateway, "10.1.0.1");
    EXPECT_EQ(wish.address->dns, (std::vector<std::string>{"10.1.0.2", "10.1.0.3"}));
    EXPECT_EQ(wish.rate, 10'000'000U);
    EXPECT_TRUE(wish.isolated);
    EXPECT_TRUE(wish.allow_spoofing);
    EXPECT_EQ(wish_of("bridge,vlan=4094").vlan, 4094);
    EXPECT_EQ(wish_of("user,publish=8080:80,publish=53:53/udp").publish.size(), 2U);
    EXPECT_EQ(wish_of("bridge,publish=8080:80").publish.size(), 1U);
    EXPECT_EQ(wish_of(",isolated").mode, std::nullopt);
}

TEST(NetworkWishTest, WrongSettingsAreRefused) {
    EXPECT_THAT(refusal_of("bridge,fast"), HasSubstr("use mac="));
    EXPECT_THAT(refusal_of("bridge,speed=9"), HasSubstr("use mac="));
    EXPECT_THAT(refusal_of("bridge,mac="), HasSubstr("mac= is given twice or empty"));
    EXPECT_THAT(refusal_of("bridge,rate=1M,rate=2M"), HasSubstr("rate= is given twice"));
    EXPECT_THAT(refusal_of("bridge,"), HasSubstr("is not known"));
    EXPECT_THAT(refusal_of("bridge,mac=01:00:5e:00:00:01"), HasSubstr("01:00:5e"));
    EXPECT_THAT(refusal_of("bridge,gateway=10.0.0.1"), HasSubstr("without an address"));
    EXPECT_THAT(refusal_of("bridge,vlan=4095"), HasSubstr("1 to 4094"));
    EXPECT_THAT(refusal_of("user,vlan=10"), HasSubstr("--vlan goes with --network bridge only"));
    EXPECT_THAT(refusal_of("eth0,publish=80:80"), HasSubstr("does not go with a macvtap"));
    for (const auto* flag : {"vlan=10", "isolated", "rate=1M", "allow-spoofing"}) {
        EXPECT_THAT(refusal_of(std::string("eth0,") + flag),
                    HasSubstr("goes with --network bridge only"));
    }
    EXPECT_TRUE(wish_of("eth0,ip=10.0.0.2/24").address);
    EXPECT_THAT(refusal_of("user,isolated"), HasSubstr("--isolated goes with"));
    EXPECT_THAT(refusal_of("user,rate=1M"), HasSubstr("--rate goes with"));
    EXPECT_THAT(refusal_of("user,ip=10.0.0.2/24"), HasSubstr("--ip goes with"));
    EXPECT_THAT(refusal_of("bridge,ip=10.0.0.2"), HasSubstr("10.0.0.2"));
    EXPECT_THAT(refusal_of(",publish=80:80,isolated"), HasSubstr("--isolated goes with"));
}

TEST(NetworkWishTest, TheCallsOwnParametersAreTheFirstCards) {
    const auto wishes = parse_network_wishes({{"network", {"bridge=br1", "bridge=br2,isolated"}},
                                              {"mac", "52:54:00:00:00:09"},
                                              {"ip", "10.1.0.5/24"},
                                              {"vlan", "20"}},
                                             state::Config());
    ASSERT_TRUE(wishes) << wishes.error().message;
    ASSERT_EQ(wishes->size(), 2U);
    EXPECT_EQ(wishes->at(0).mac, "52:54:00:00:00:09");
    EXPECT_EQ(wishes->at(0).address->cidr, "10.1.0.5/24");
    EXPECT_EQ(wishes->at(0).vlan, 20);
    EXPECT_EQ(wishes->at(1).vlan, 0);
    EXPECT_FALSE(wishes->at(0).isolated);
    EXPECT_EQ(wishes->at(1).bridge, "br2");
    EXPECT_TRUE(wishes->at(1).isolated);
    EXPECT_FALSE(wishes->at(1).address);
}

TEST(NetworkWishTest, TheDefaultIsTheConfigurations) {
    state::Config config;
    EXPECT_EQ(parse_network_wishes(Json::object(), config)->at(0).mode, std::nullopt);
    config.network = "bridge=br9,isolated";
    const auto wishes = parse_network_wishes(Json::object(), config);
    ASSERT_TRUE(wishes);
    EXPECT_EQ(wishes->at(0).bridge, "br9");
    EXPECT_TRUE(wishes->at(0).isolated);
}

TEST(NetworkWishTest, WhatDoesNotGoTogetherIsRefused) {
    EXPECT_THAT(refusal_of_call(Json{{"network", {"user", "user"}}}), HasSubstr("one card"));
    EXPECT_THAT(refusal_of_call(Json{{"network", {"bridge", ""}}}),
                HasSubstr("name what each card"));
    EXPECT_THAT(refusal_of_call(Json{{"network", Json::array()}}), HasSubstr("a VM has 1 to 8"));
    EXPECT_THAT(refusal_of_call(Json{{"network", std::vector<std::string>(9, "bridge")}}),
                HasSubstr("a VM has 1 to 8"));
    EXPECT_THAT(refusal_of_call(Json{{"network", 7}}), HasSubstr("network"));
    EXPECT_THAT(refusal_of_call(Json{{"network", "bridge,mac=52:54:00:00:00:01"},
                                     {"mac", "52:54:00:00:00:02"}}),
                HasSubstr("--mac is given twice"));
    EXPECT_THAT(
        refusal_of_call(Json{
            {"network", {"bridge,mac=52:54:00:00:00:01", "bridge=br1,mac=52:54:00:00:00:01"}}}),
        HasSubstr("two network cards"));
}

}  // namespace
}  // namespace noxsup::daemon
