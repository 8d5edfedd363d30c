#include "netbridge/interface_name.hpp"

#include <gtest/gtest.h>

namespace noxsup::netbridge {
namespace {

TEST(InterfaceName, TakesWhatTheKernelTakes) {
    for (const std::string_view text : {"b", "br0", "nx0123456789abc", "enp0s31f6.100", "a-b_c"}) {
        const auto name = InterfaceName::parse(text);
        ASSERT_TRUE(name) << text;
        EXPECT_EQ(name->str(), text);
    }
}

TEST(InterfaceName, RefusesTheRest) {
    for (const auto text : std::initializer_list<std::string_view>{
             "", ".", "..", "sixteen-bytes-xx", "a/b", "a:b", "a b", "tap%d", "br0\n", "\x7f",
             "gr\xc3\xbc", std::string_view("a\0b", 3)}) {
        const auto name = InterfaceName::parse(text);
        ASSERT_FALSE(name) << text;
        EXPECT_EQ(name.error().code, ErrorCode::invalid_argument);
    }
}

}  // namespace
}  // namespace noxsup::netbridge
