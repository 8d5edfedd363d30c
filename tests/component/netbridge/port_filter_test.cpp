#include "netbridge/port_filter.hpp"
#include "netbridge/bridge_health.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/component/netbridge/bridge_fixture.hpp"

namespace noxsup::netbridge {
namespace {

using namespace std::chrono_literals;
using test::Bytes;
using testing::HasSubstr;
using testing::IsEmpty;

const MacAddress stranger({0x52, 0x54, 0, 9, 9, 9});
const std::string leased = "192.168.77.50";

/// A guest with its filter, and somebody on the same bridge who has none.
class PortFilterOnKernel : public BridgeTest {
  protected:
    void SetUp() override {
        BridgeTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        auto able = kernel_->rule_tables();
        if (!able) GTEST_SKIP() << able.error().message;
        lan_.emplace(make_guest(9));
    }

    TapRequest filtered(std::uint8_t last) const {
        auto wanted = request(last);
        wanted.check_source = true;
        return wanted;
    }

    /// Whether `from` gets the frame to `to`; a harmless one that follows tells when it would be
    /// there.
    bool passes(const GuestStub& from, const GuestStub& to, const Bytes& frame) {
        from.send(frame);
        const auto marker = test::arp_frame(from.mac(), "0.0.0.0",
                                            "192.168.77." + std::to_string(100 + ++markers_ % 100));
        from.send(marker);
        bool seen = false;
        for (;;) {
            const auto got = to.receive(5s);
            if (!got) throw std::runtime_error("not even the harmless frame arrived");
            if (*got == frame) seen = true;
            if (*got == marker) return seen;
        }
    }
    static bool arrives(const GuestStub& at, const Bytes& frame) {
        while (const auto got = at.receive(200ms)) {
            if (*got == frame) return true;
        }
        return false;
    }
    bool passes(const GuestStub& from, const Bytes& frame) { return passes(from, *lan_, frame); }

    /// The router grants the address. It reaches the guest when the kernel has learned it.
    void grant(const GuestStub& guest, const MacAddress& client, const std::string& address) {
        auto ack = test::dhcp_ack(client, address);
        ack.source = lan_->mac();
        const auto frame = ack.build();
        lan_->send(frame);
        for (;;) {
            const auto got = guest.receive(5s);
            ASSERT_TRUE(got) << "the reply did not arrive";
            if (*got == frame) return;
        }
    }

    std::optional<GuestStub> lan_;
    unsigned markers_ = 0;
};

Bytes discover(const MacAddress& client) {
    test::DhcpFrame frame;
    frame.source = frame.client = client;
    frame.from_server = false;
    return frame.build();
}

TEST_F(PortFilterOnKernel, ALeaseOpensTheWayForItsAddressAlone) {
    const auto guest = make_guest(filtered(1));
    const auto packet = test::udp_frame(guest.mac(), leased, "192.168.77.99", 4000, 4001);
    const auto other = test::udp_frame(guest.mac(), "192.168.77.51", "192.168.77.99", 4000, 4001);
    const auto arp = test::arp_frame(guest.mac(), leased, "192.168.77.99");
    const auto reply = test::arp_frame(guest.mac(), leased, "192.168.77.99", 2);
    EXPECT_TRUE(passes(guest, discover(guest.mac())));
    EXPECT_FALSE(passes(guest, packet));
    EXPECT_FALSE(passes(guest, arp));
    grant(guest, guest.mac(), leased);
    EXPECT_TRUE(passes(guest, packet));
    EXPECT_TRUE(passes(guest, arp));
    EXPECT_TRUE(passes(guest, reply));
    EXPECT_FALSE(passes(guest, other));
    EXPECT_FALSE(passes(guest, test::arp_frame(guest.mac(), "192.168.77.51", "192.168.77.99")));
    // A router whose mind has changed.
    grant(guest, guest.mac(), "192.168.77.51");
    EXPECT_TRUE(passes(guest, other));
}

TEST_F(PortFilterOnKernel, ALeaseOfAnotherClientTeachesNothing) {
    const auto guest = make_guest(filtered(1));
    grant(guest, stranger, leased);
    EXPECT_FALSE(passes(guest, test::udp_frame(guest.mac(), leased, "192.168.77.99", 4000, 4001)));
}

TEST_F(PortFilterOnKernel, NoSpoofPasses) {
    const auto guest = make_guest(filtered(1));
    grant(guest, guest.mac(), leased);
    const auto payload = Bytes(46, 0);
    test::DhcpFrame offer = test::dhcp_ack(stranger, "192.168.77.66");
    offer.source = guest.mac();
    auto wrong_inner = test::arp_frame(stranger, leased, "192.168.77.99");
    std::ranges::copy(guest.mac().bytes(), wrong_inner.begin() + 6);
    const auto tagged = Bytes{0, 5, 0x08, 0x06};
    const Bytes bpdu{0x42, 0x42, 3};
    const std::vector<std::pair<std::string, Bytes>> spoofs{
        {"source MAC", test::udp_frame(stranger, leased, "192.168.77.99", 4000, 4001)},
        {"source address", test::udp_frame(guest.mac(), "192.168.77.1", "192.168.77.99", 1, 2)},
        {"ARP of another address",
         test::arp_frame(guest.mac(), "192.168.77.1", "192.168.77.99", 2)},
        {"ARP of another MAC", wrong_inner},
        {"router advertisement", test::icmpv6_frame(guest.mac(), 134)},
        {"redirect", test::icmpv6_frame(guest.mac(), 137)},
        {"DHCP offer", offer.build()},
        {"DHCP server with the leased address",
         test::udp_frame(guest.mac(), leased, "255.255.255.255", 67, 68)},
        {"RARP", test::ethernet_frame(guest.mac(), Bytes(6, 0xff), 0x8035, payload)},
        {"VLAN tag", test::ethernet_frame(guest.mac(), Bytes(6, 0xff), 0x8100, tagged)},
        {"double VLAN tag", test::ethernet_frame(guest.mac(), Bytes(6, 0xff), 0x88a8, tagged)},
        {"BPDU", test::ethernet_frame(guest.mac(), {0x01, 0x80, 0xc2, 0, 0, 0}, 38, bpdu)},
        {"LLDP",
         test::ethernet_frame(guest.mac(), {0x01, 0x80, 0xc2, 0, 0, 0x0e}, 0x88cc, payload)},
        {"another protocol", test::ethernet_frame(guest.mac(), Bytes(6, 0xff), 0x88b5, payload)},
    };
    for (const auto& [name, frame] : spoofs) EXPECT_FALSE(passes(guest, frame)) << name;
    EXPECT_TRUE(passes(guest, test::icmpv6_frame(guest.mac(), 135))) << "neighbour solicitation";
    EXPECT_TRUE(passes(guest, test::icmpv6_frame(guest.mac(), 133))) << "router solicitation";
}

TEST_F(PortFilterOnKernel, WithoutItEachOfThemPasses) {
    const auto guest = make_guest(request(1));
    EXPECT_TRUE(passes(guest, test::udp_frame(stranger, leased, "192.168.77.99", 4000, 4001)));
    EXPECT_TRUE(passes(guest, test::icmpv6_frame(guest.mac(), 134)));
    EXPECT_TRUE(passes(guest, test::ethernet_frame(guest.mac(), Bytes(6, 0xff), 0x8035, {})));
}

/// With the spanning tree protocol on, a bridge hears BPDUs before any hook; the kernel gives none
/// to a bridge of another network namespace than the first, so that it is only looked at.
TEST_F(PortFilterOnKernel, ThePortIsGuardedAgainstBpdus) {
    const auto guest = make_guest(filtered(1));
    const auto free = make_guest(request(2));
    const auto port = [](const GuestStub& of) {
        return test::run_program({"bridge", "-d", "link", "show", "dev", of.link().name});
    };
    EXPECT_THAT(port(guest), HasSubstr("guard on"));
    EXPECT_THAT(port(free), HasSubstr("guard off")) << "it may send what it likes";
}

TEST_F(PortFilterOnKernel, AFixedAddressPassesAtOnceAndStaysTheOnlyOne) {
    auto wanted = filtered(1);
    wanted.fixed = {*parse_ip("192.168.77.20")};
    const auto guest = make_guest(wanted);
    EXPECT_TRUE(passes(guest, test::arp_frame(guest.mac(), "192.168.77.20", "192.168.77.99")));
    grant(guest, guest.mac(), leased);
    EXPECT_FALSE(passes(guest, test::arp_frame(guest.mac(), leased, "192.168.77.99")));
}

TEST_F(PortFilterOnKernel, AnIsolatedGuestReachesTheHostAndNoOtherGuest) {
    auto wanted = filtered(1);
    wanted.fixed = {*parse_ip("192.168.77.20")};
    wanted.isolated = true;
    const auto alone = make_guest(wanted);
    const auto other = make_guest(request(2));
    const auto to_host = test::arp_frame(alone.mac(), "192.168.77.20", "192.168.77.1");
    alone.send(to_host);
    const auto answer = alone.receive(5s);
    ASSERT_TRUE(answer) << "the host did not answer";
    EXPECT_EQ((*answer)[21], 2) << "an ARP reply";
    EXPECT_FALSE(arrives(other, to_host));
    const auto to_alone = test::arp_frame(other.mac(), "192.168.77.30", "192.168.77.20");
    other.send(to_alone);
    EXPECT_FALSE(arrives(alone, to_alone));
    EXPECT_TRUE(
        passes(other, *lan_, test::arp_frame(other.mac(), "192.168.77.30", "192.168.77.31")));
}

TEST_F(PortFilterOnKernel, WhatComesFasterThanTheRateIsDropped) {
    auto wanted = request(1);
    wanted.rate = 1'000'000;
    const auto guest = make_guest(wanted);
    const auto count_of = [](const GuestStub& from, const GuestStub& to, const Bytes& frame) {
        int arrived = 0;
        for (int i = 0; i < 1000; ++i) {
            from.send(frame);
            while (const auto got = to.receive(0ms)) arrived += *got == frame ? 1 : 0;
        }
        while (const auto got = to.receive(200ms)) arrived += *got == frame ? 1 : 0;
        return arrived;
    };
    auto large = test::udp_frame(guest.mac(), "192.168.77.60", "192.168.77.99", 4000, 4001, 958);
    const int sent = count_of(guest, *lan_, large);
    // The burst is 262 of them; a second of the rate is 125 more.
    EXPECT_GE(sent, 200);
    EXPECT_LE(sent, 900);
    std::ranges::copy(lan_->mac().bytes(), large.begin() + 6);
    const int received = count_of(*lan_, guest, large);
    EXPECT_GE(received, 200);
    EXPECT_LE(received, 900);
}

TEST_F(PortFilterOnKernel, RulesComeAndGoWithTheVm) {
    const auto tap = *tap_name(request(1).id);
    {
        const auto guest = make_guest(filtered(1));
        EXPECT_THAT(*kernel_->rule_tables(), testing::ElementsAre(filter_table(tap)));
        ASSERT_EQ(*sweep_filters(*kernel_), 0U) << "the TAP is there";
    }
    ASSERT_FALSE(*kernel_->find_link(tap));
    EXPECT_EQ(*sweep_filters(*kernel_), 1U);
    EXPECT_THAT(*kernel_->rule_tables(), IsEmpty());
    ASSERT_TRUE(forget_tap(*kernel_, tap)) << "of one that has none";
    EXPECT_THAT(*kernel_->rule_tables(), IsEmpty());
}

TEST_F(PortFilterOnKernel, RulesThatCameBackKnowTheAddressAndLearnTheNext) {
    const auto wanted = filtered(1);
    const auto guest = make_guest(wanted);
    ASSERT_TRUE(kernel_->change_rules("flush ruleset\n"));
    ASSERT_TRUE(*restore_filter(*kernel_, wanted, {*parse_ip(leased)}, *kernel_->rule_tables()));
    EXPECT_TRUE(passes(guest, test::arp_frame(guest.mac(), leased, "192.168.77.99")));
    EXPECT_FALSE(passes(guest, test::arp_frame(guest.mac(), "192.168.77.51", "192.168.77.99")));
    grant(guest, guest.mac(), "192.168.77.51");
    EXPECT_TRUE(passes(guest, test::arp_frame(guest.mac(), "192.168.77.51", "192.168.77.99")));
}

TEST_F(PortFilterOnKernel, AProbeLeavesNothing) {
    const auto able = can_filter(*kernel_);
    EXPECT_TRUE(able) << able.error().message;
    EXPECT_THAT(*kernel_->rule_tables(), IsEmpty());
}

TEST_F(PortFilterOnKernel, ChainsThatDropWhatIsForwardedAreFound) {
    EXPECT_THAT(*kernel_->dropping_forward_chains(), IsEmpty());
    ASSERT_TRUE(kernel_->change_rules(
        "table ip filter {\n"
        "  chain INPUT { type filter hook input priority 0; policy drop; }\n"
        "  chain FORWARD { type filter hook forward priority 0; policy drop; }\n"
        "  chain other { }\n"
        "}\n"
        "table inet calm {\n"
        "  chain forward { type filter hook forward priority 0; policy accept; }\n"
        "}\n"));
    EXPECT_THAT(*kernel_->dropping_forward_chains(),
                testing::ElementsAre(RuleChain{"ip", "filter", "FORWARD"}));

    // As doctor --fix lets the bridge's own traffic through.
    BridgeFacts facts;
    facts.name = "br0";
    facts.has_card = facts.meets_ip_rules = true;
    facts.dropping = *kernel_->dropping_forward_chains();
    const auto problems = judge_bridge(facts);
    ASSERT_EQ(problems.size(), 1U);
    ASSERT_TRUE(problems[0].can_mend);
    const auto mended = mend_bridge(*kernel_, facts, problems[0]);
    ASSERT_TRUE(mended) << mended.error().message;
    const auto rules = test::run_program({"nft", "list", "chain", "ip", "filter", "FORWARD"});
    EXPECT_THAT(rules, HasSubstr("iifname \"br0\" oifname \"br0\" accept"));
}

TEST_F(PortFilterOnKernel, WordsThatAreNoCommandsChangeNothing) {
    const auto wrong = kernel_->change_rules(
        "table bridge noxsup_x { set a { type ipv4_addr; } }\nflush nonsense\n");
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().code, ErrorCode::failed);
    EXPECT_THAT(wrong.error().message, HasSubstr("syntax error"));
    EXPECT_THAT(*kernel_->rule_tables(), IsEmpty());
}

TEST_F(PortFilterOnKernel, AMultiQueueTapPassesFramesOnEachQueue) {
    auto wanted = filtered(1);
    wanted.queues = 4;
    wanted.fixed = {*parse_ip("192.168.77.20")};
    const auto guest = make_guest(wanted);
    EXPECT_TRUE(passes(guest, test::arp_frame(guest.mac(), "192.168.77.20", "192.168.77.99")));
    EXPECT_THAT(test::run_program({"ip", "-d", "link", "show", guest.link().name}),
                HasSubstr("multi_queue"));
}

}  // namespace
}  // namespace noxsup::netbridge
