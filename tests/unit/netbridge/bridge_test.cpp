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

}  // namespace
}  // namespace noxsup::netbridge
