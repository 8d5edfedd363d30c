#include <gmock/gmock.h>

#include "netbridge/bridge.hpp"
#include "tests/component/netbridge/bridge_fixture.hpp"

namespace noxsup::netbridge {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

class VlanOnKernel : public BridgeTest {
  protected:
    void SetUp() override {
        BridgeTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        if (const auto filters = kernel_->filters_vlans(find("br0")); !filters)
            GTEST_SKIP() << filters.error().message;
        set_filtering(true);
    }
    static void set_filtering(bool on) {
        test::run_program(
            {"ip", "link", "set", "br0", "type", "bridge", "vlan_filtering", on ? "1" : "0"});
    }
    GuestStub guest_in(std::uint16_t vlan, std::uint8_t last) {
        auto wanted = request(last);
        wanted.vlan = vlan;
        return make_guest(wanted);
    }
    static bool hears(const GuestStub& to, const test::Bytes& frame) {
        for (;;) {
            const auto got = to.receive(300ms);
            if (!got || *got == frame) return got.has_value();
        }
    }
};

TEST_F(VlanOnKernel, OneHearsItsOwnVlanAndNoOther) {
    const auto one = guest_in(10, 1);
    const auto two = guest_in(10, 2);
    const auto other = guest_in(20, 3);
    const auto outside = make_guest(4);
    const auto said = test::arp_frame(one.mac(), "192.168.77.50", "192.168.77.51");
    one.send(said);
    EXPECT_TRUE(hears(two, said)) << "without a tag";
    EXPECT_FALSE(hears(other, said));
    EXPECT_FALSE(hears(outside, said)) << "the bridge's default is VLAN 1";
    const auto answer = test::arp_frame(other.mac(), "192.168.77.52", "192.168.77.50");
    other.send(answer);
    EXPECT_FALSE(hears(one, answer));
    const auto shout = test::arp_frame(outside.mac(), "192.168.77.53", "192.168.77.50");
    outside.send(shout);
    EXPECT_FALSE(hears(two, shout));
}

TEST_F(VlanOnKernel, ThePortIsInThatVlanAlone) {
    // Whatever the bridge gives a new port.
    test::run_program({"ip", "link", "set", "br0", "type", "bridge", "vlan_default_pvid", "7"});
    for (const unsigned vlan : {1U, 2U, 7U, 4094U}) {
        const auto guest = guest_in(static_cast<std::uint16_t>(vlan), 1);
        const auto& tap = guest.link().name;
        const auto told =
            test::run_program({"bridge", "-compressvlans", "vlan", "show", "dev", tap});
        EXPECT_THAT(told, HasSubstr(" " + std::to_string(vlan) + " PVID Egress Untagged"));
        EXPECT_EQ(std::ranges::count(told, '\n'), 2) << told;
    }
}

TEST_F(VlanOnKernel, ABridgeThatMixesThemIsRefusedWithTheFix) {
    set_filtering(false);
    auto wanted = request(1);
    wanted.vlan = 10;
    const auto refused = lease_tap(*kernel_, wanted);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::host_lacks_bridge);
    EXPECT_THAT(refused.error().hint,
                HasSubstr("sudo ip link set br0 type bridge vlan_filtering 1"));
    EXPECT_FALSE(*kernel_->find_link(name("nx" + wanted.id)));
    EXPECT_TRUE(can_use_bridge(*kernel_, name("br0")));
}

}  // namespace
}  // namespace noxsup::netbridge
