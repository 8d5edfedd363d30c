#include "netbridge/bridge_health.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fake_kernel_network.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::netbridge {
namespace {

using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;

BridgeFacts good() {
    BridgeFacts facts;
    facts.name = "br0";
    facts.has_card = true;
    facts.forward_delay_seconds = 15;  // what a bridge has that nobody set up
    return facts;
}

const RuleChain docker{"ip", "filter", "FORWARD"};

TEST(JudgeBridge, NothingIsWrongWithAGoodOne) {
    auto facts = good();
    EXPECT_THAT(judge_bridge(facts), IsEmpty());
    facts.meets_ip_rules = true;
    EXPECT_THAT(judge_bridge(facts), IsEmpty()) << "no rule drops";
    facts.meets_ip_rules = false;
    facts.dropping = {docker};
    EXPECT_THAT(judge_bridge(facts), IsEmpty()) << "bridged traffic does not meet the rules";
    facts.spanning_tree = true;
    facts.forward_delay_seconds = 2;
    EXPECT_THAT(judge_bridge(facts), IsEmpty());
}

TEST(JudgeBridge, DockersFirewallIsNamedWithItsFix) {
    auto facts = good();
    facts.meets_ip_rules = true;
    facts.dropping = {docker};
    const auto problems = judge_bridge(facts);
    ASSERT_EQ(problems.size(), 1U);
    EXPECT_EQ(problems[0].id, "bridge-firewall");
    EXPECT_THAT(problems[0].text, HasSubstr("table ip filter, chain FORWARD"));
    EXPECT_THAT(problems[0].fix, HasSubstr("bridge-nf-call-iptables=0"));
    EXPECT_THAT(problems[0].fix, HasSubstr("-i br0 -o br0"));
}

TEST(JudgeBridge, TheSpanningTreesDelayIsTold) {
    auto facts = good();
    facts.spanning_tree = true;
    const auto problems = judge_bridge(facts);
    ASSERT_EQ(problems.size(), 1U);
    EXPECT_EQ(problems[0].id, "bridge-stp");
    EXPECT_THAT(problems[0].text, HasSubstr("for 30 s"));
}

TEST(JudgeBridge, OneWithoutACardReachesTheHostAlone) {
    auto facts = good();
    facts.has_card = false;
    EXPECT_THAT(judge_bridge(facts), ElementsAre(Field(&BridgeProblem::id, "bridge-card")));
}

class ReadBridgeFacts : public testing::Test {
  protected:
    ReadBridgeFacts() {
        bridge_.name = "br0";
        bridge_.kind = "bridge";
        bridge_.up = true;
        bridge_.index = kernel_.add_link(bridge_);
        views_.sys = dir_ / "sys";
        views_.proc = dir_ / "proc";
        put("sys/class/net/br0/ifindex", std::to_string(bridge_.index) + "\n");
        put("sys/class/net/br0/bridge/stp_state", "1\n");
        put("sys/class/net/br0/bridge/forward_delay", "1500\n");
        put("sys/class/net/br0/bridge/nf_call_iptables", "0\n");
    }
    void put(const std::string& name, const std::string& text) {
        std::filesystem::create_directories((dir_ / name).parent_path());
        (void)dir_.write(name, text);
    }
    void add_port(const char* name, const char* kind, const char* alias = "") {
        Link link;
        link.name = name;
        link.kind = kind;
        link.alias = alias;
        link.master = bridge_.index;
        kernel_.add_link(link);
    }
    BridgeFacts read() { return read_bridge_facts(kernel_, bridge_, views_); }

    test::TempDir dir_;
    test::FakeKernelNetwork kernel_;
    Link bridge_;
    KernelViews views_;
};

TEST_F(ReadBridgeFacts, OfTheBridgeItself) {
    kernel_.dropping = {docker};
    const auto facts = read();
    EXPECT_EQ(facts.name, "br0");
    EXPECT_TRUE(facts.spanning_tree);
    EXPECT_EQ(facts.forward_delay_seconds, 15);
    EXPECT_FALSE(facts.meets_ip_rules);
    EXPECT_THAT(facts.dropping, ElementsAre(docker));
    put("sys/class/net/br0/bridge/nf_call_iptables", "1\n");
    EXPECT_TRUE(read().meets_ip_rules);
}

TEST_F(ReadBridgeFacts, TheDelayIsShortenedOnly) {
    const auto facts = read();
    const auto problems = judge_bridge(facts);
    const auto delay = std::ranges::find(problems, "bridge-stp", &BridgeProblem::id);
    ASSERT_NE(delay, problems.end());
    ASSERT_TRUE(delay->can_mend);
    const auto mended = mend_bridge(kernel_, facts, *delay, views_);
    ASSERT_TRUE(mended) << mended.error().message;
    EXPECT_EQ(read().forward_delay_seconds, 2);
    EXPECT_TRUE(read().spanning_tree) << "who has it on may need it";
    EXPECT_FALSE(std::ranges::any_of(
        judge_bridge(read()), [](const auto& problem) { return problem.id == "bridge-stp"; }));
}

TEST_F(ReadBridgeFacts, WhatIsNotSafeIsLeftToTheUser) {
    BridgeProblem card{"bridge-card", "", ""};
    EXPECT_FALSE(card.can_mend);
    EXPECT_EQ(mend_bridge(kernel_, read(), card, views_).error().code, ErrorCode::invalid_argument);
}

TEST_F(ReadBridgeFacts, TheHostsSettingCountsForEachBridge) {
    put("proc/sys/net/bridge/bridge-nf-call-iptables", "1\n");
    EXPECT_TRUE(read().meets_ip_rules);
}

TEST_F(ReadBridgeFacts, ADeviceOfAnotherNamespaceIsNotBelieved) {
    put("sys/class/net/br0/ifindex", "4711\n");
    EXPECT_FALSE(read().spanning_tree);
}

TEST_F(ReadBridgeFacts, OnlyACardIsACard) {
    EXPECT_FALSE(read().has_card);
    add_port("nx3f2a9c41", "tun", "noxsup:6f1c9a52-7a3e-4f0b-9c55-3d2e1b0a9f87");
    add_port("vnet0", "tun");
    EXPECT_FALSE(read().has_card);
    add_port("eth0", "");
    EXPECT_TRUE(read().has_card);
}

TEST_F(ReadBridgeFacts, NumbersOfNonsenseAreNone) {
    put("sys/class/net/br0/bridge/forward_delay", "99999999999999999999\n");
    EXPECT_EQ(read().forward_delay_seconds, 0);
    put("sys/class/net/br0/bridge/forward_delay", "soon\n");
    EXPECT_EQ(read().forward_delay_seconds, 0);
}

TEST_F(ReadBridgeFacts, WirelessIsTold) {
    put("sys/class/net/wlan0/phy80211/name", "phy0\n");
    EXPECT_TRUE(is_wireless("wlan0", views_));
    EXPECT_FALSE(is_wireless("br0", views_));
}

}  // namespace
}  // namespace noxsup::netbridge
