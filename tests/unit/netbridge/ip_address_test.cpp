#include "netbridge/ip_address.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace noxsup::netbridge {
namespace {

using testing::HasSubstr;

TEST(ParseIp, IsStrict) {
    EXPECT_EQ(parse_ip("192.168.1.20")->to_string(), "192.168.1.20");
    EXPECT_EQ(parse_ip("fd00::20")->to_string(), "fd00::20");
    for (const auto text : std::initializer_list<std::string_view>{
             "", "192.168.1", "192.168.1.256", "192.168.1.20 ", "0x7f.1", "1.2.3.4.5", "localhost",
             "fe80::1%eth0", "[fd00::20]", "fd00:::1", std::string_view("1.2.3.4\0x", 9)}) {
        const auto address = parse_ip(text);
        ASSERT_FALSE(address) << text;
        EXPECT_EQ(address.error().code, ErrorCode::invalid_argument);
    }
}

TEST(ParseInterfaceCidr, KeepsAddressAndPrefix) {
    const auto cidr = parse_interface_cidr("192.168.1.20/24");
    ASSERT_TRUE(cidr);
    EXPECT_EQ(cidr->to_string(), "192.168.1.20/24");
    EXPECT_TRUE(cidr->contains(*parse_ip("192.168.1.254")));
    EXPECT_FALSE(cidr->contains(*parse_ip("192.168.2.1")));
    EXPECT_FALSE(cidr->contains(*parse_ip("fd00::1")));
    for (const auto* text :
         {"10.0.0.0/31", "10.0.0.7/32", "fd00::20/64", "fd00::/127", "10.1.255.255/8"}) {
        EXPECT_TRUE(parse_interface_cidr(text)) << text;
    }
}

TEST(ParseInterfaceCidr, RefusesWhatNoInterfaceHas) {
    const auto message = [](std::string_view text) {
        const auto cidr = parse_interface_cidr(text);
        return cidr ? "accepted" : cidr.error().message;
    };
    EXPECT_THAT(message("192.168.1.20"), HasSubstr("no prefix length"));
    EXPECT_THAT(message("192.168.1.20/"), HasSubstr("1 to 32"));
    EXPECT_THAT(message("192.168.1.20/0"), HasSubstr("1 to 32"));
    EXPECT_THAT(message("192.168.1.20/33"), HasSubstr("1 to 32"));
    EXPECT_THAT(message("192.168.1.20/-1"), HasSubstr("1 to 32"));
    EXPECT_THAT(message("192.168.1.20/24/24"), HasSubstr("1 to 32"));
    EXPECT_THAT(message("fd00::20/129"), HasSubstr("1 to 128"));
    EXPECT_THAT(message("192.168.1.0/24"), HasSubstr("subnet's own"));
    EXPECT_THAT(message("192.168.1.255/24"), HasSubstr("broadcast"));
    EXPECT_THAT(message("fd00::/64"), HasSubstr("subnet's own"));
    EXPECT_THAT(message("127.0.0.1/8"), HasSubstr("loopback"));
    EXPECT_THAT(message("::1/128"), HasSubstr("loopback"));
    EXPECT_THAT(message("0.0.0.0/24"), HasSubstr("unspecified"));
    EXPECT_THAT(message("224.0.0.5/24"), HasSubstr("multicast"));
    EXPECT_THAT(message("ff02::5/64"), HasSubstr("multicast"));
    EXPECT_THAT(message("250.0.0.5/24"), HasSubstr("reserved"));
    EXPECT_THAT(message("::ffff:10.0.0.1/64"), HasSubstr("disguise"));
}

TEST(IsHostAddress, KnowsTheEdges) {
    const auto host = [](const char* text) { return is_host_address(parse_ip(text)->to_v4()); };
    EXPECT_TRUE(host("1.0.0.0"));
    EXPECT_TRUE(host("169.254.3.4"));
    EXPECT_TRUE(host("223.255.255.255"));
    EXPECT_FALSE(host("0.1.2.3"));
    EXPECT_FALSE(host("127.255.0.1"));
    EXPECT_FALSE(host("224.0.0.0"));
    EXPECT_FALSE(host("255.255.255.255"));
}

TEST(StaticNetwork, NothingGivenIsNone) {
    const auto network = parse_static_network("", "", {});
    ASSERT_TRUE(network);
    EXPECT_FALSE(network->has_value());
}

TEST(StaticNetwork, TakesACompleteOne) {
    const auto network =
        parse_static_network("192.168.1.20/24", "192.168.1.1", {"1.1.1.1", "fd00::53"});
    ASSERT_TRUE(network) << network.error().message;
    EXPECT_EQ((*network)->address.to_string(), "192.168.1.20/24");
    EXPECT_EQ((*network)->gateway->to_string(), "192.168.1.1");
    EXPECT_EQ((*network)->dns.size(), 2U);
    EXPECT_TRUE(parse_static_network("fd00::20/64", "fe80::1", {}));
    EXPECT_FALSE((*parse_static_network("10.0.0.2/24", "", {}))->gateway);
}

TEST(StaticNetwork, RefusesWhatDoesNotFitTogether) {
    const auto message = [](const char* ip, const char* gateway, const char* dns = "1.1.1.1") {
        const auto network = parse_static_network(ip, gateway, {dns});
        return network ? "accepted" : network.error().message;
    };
    EXPECT_THAT(message("", "192.168.1.1"), HasSubstr("without an address"));
    EXPECT_THAT(message("", ""), HasSubstr("without an address"));
    EXPECT_THAT(message("192.168.1.20/24", "192.168.2.1"), HasSubstr("not in the subnet"));
    EXPECT_THAT(message("192.168.1.20/24", "fd00::1"), HasSubstr("same family"));
    EXPECT_THAT(message("192.168.1.20/24", "192.168.1.20"), HasSubstr("own address"));
    EXPECT_THAT(message("192.168.1.20/24", "192.168.1.255"), HasSubstr("broadcast"));
    EXPECT_THAT(message("192.168.1.20/24", "router"), HasSubstr("not an IP address"));
    EXPECT_THAT(message("192.168.1.20/24", "", "0.0.0.0"), HasSubstr("DNS server"));
    EXPECT_THAT(message("192.168.1.20/24", "", "dns"), HasSubstr("not an IP address"));
}

TEST(CheckInSubnet, OneOfTheHostsSubnetsAndNotItsOwnAddress) {
    const std::vector<IpCidr> own{*parse_interface_cidr("192.168.1.5/24"),
                                  *parse_interface_cidr("10.0.0.5/8"),
                                  *parse_interface_cidr("fe80::5/64")};
    const auto code = [&](const char* wanted) {
        const auto checked = check_in_subnet(*parse_interface_cidr(wanted), own, "br0");
        return checked ? std::string() : checked.error().message;
    };
    EXPECT_EQ(code("192.168.1.20/24"), "");
    EXPECT_EQ(code("10.9.9.9/8"), "");
    EXPECT_THAT(code("192.168.2.20/24"),
                HasSubstr("in no subnet of br0 (192.168.1.5/24, 10.0.0.5/8)"));
    EXPECT_THAT(code("192.168.1.5/24"), HasSubstr("this host's own"));
    EXPECT_EQ(code("fd00::20/64"), "") << "the host has none of the family";
}

}  // namespace
}  // namespace noxsup::netbridge
