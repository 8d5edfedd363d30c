#include "netbridge/bridge.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fake_kernel_network.hpp"

namespace noxsup::netbridge {
namespace {

using testing::HasSubstr;

Link device(const char* name, const char* kind, bool up) {
    Link link;
    link.name = name;
    link.kind = kind;
    link.up = up;
    return link;
}

class CanUseBridge : public testing::Test {
  protected:
    CanUseBridge() {
        kernel_.add_link(device("br0", "bridge", true));
        kernel_.add_link(device("br1", "bridge", false));
        kernel_.add_link(device("eth0", "", true));
    }
    Result<Link> ask(std::string_view name) {
        return can_use_bridge(kernel_, *InterfaceName::parse(name));
    }
    test::FakeKernelNetwork kernel_;
};

TEST_F(CanUseBridge, AGoodOneIsReturnedAndNothingIsChanged) {
    const auto bridge = ask("br0");
    ASSERT_TRUE(bridge) << bridge.error().message;
    EXPECT_EQ(bridge->name, "br0");
    EXPECT_THAT(kernel_.log(), testing::ElementsAre("find br0", "check rights"));
}

TEST_F(CanUseBridge, EachReasonHasItsMessageAndFix) {
    EXPECT_EQ(ask("br7").error().code, ErrorCode::host_lacks_bridge);
    EXPECT_THAT(ask("br7").error().message, HasSubstr("no bridge br7"));
    EXPECT_THAT(ask("eth0").error().message, HasSubstr("no bridge"));
    EXPECT_EQ(ask("br1").error().code, ErrorCode::host_lacks_bridge);
    EXPECT_EQ(ask("br1").error().hint, "sudo ip link set br1 up");
    kernel_.has_rights = false;
    EXPECT_EQ(ask("br0").error().code, ErrorCode::host_lacks_right);
    EXPECT_EQ(ask("br0").error().hint, "become root");
}

TEST(ParseVlan, TakesTheNumbersOfTheStandard) {
    EXPECT_EQ(*parse_vlan("1"), 1);
    EXPECT_EQ(*parse_vlan("4094"), 4094);
    for (const auto* text : {"", "0", "4095", "65537", "-1", "+1", "1a", " 1", "ten"}) {
        const auto refused = parse_vlan(text);
        ASSERT_FALSE(refused) << text;
        EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
        EXPECT_THAT(refused.error().message, HasSubstr("1 to 4094"));
    }
}

TEST_F(CanUseBridge, AVlanWantsABridgeThatKeepsThemApart) {
    const auto bridge = *ask("br0");
    EXPECT_EQ(can_use_vlan(kernel_, bridge, 10).error().message, "no VLANs");
    kernel_.vlan_filtering = false;
    const auto mixed = can_use_vlan(kernel_, bridge, 10).error();
    EXPECT_EQ(mixed.code, ErrorCode::host_lacks_bridge);
    EXPECT_THAT(mixed.hint, HasSubstr("sudo ip link set br0 type bridge vlan_filtering 1"));
    kernel_.vlan_filtering = true;
    EXPECT_TRUE(can_use_vlan(kernel_, bridge, 1));
    EXPECT_TRUE(can_use_vlan(kernel_, bridge, 4094));
    EXPECT_EQ(can_use_vlan(kernel_, bridge, 4095).error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(can_use_vlan(kernel_, bridge, 0).error().code, ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace noxsup::netbridge
