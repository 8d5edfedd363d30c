#include "netbridge/nat/dnsmasq.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "supervisor/base/text.hpp"
#include "tests/support/golden.hpp"

namespace noxsup::netbridge {
namespace {

const NatSubnet subnet = *NatSubnet::parse("10.213.77.0/24");

MacAddress mac(std::uint8_t last) {
    return MacAddress({0x52, 0x54, 0, 0x10, 0x20, last});
}

std::vector<NatHost> hosts() {
    return {{"db", mac(2), subnet.host(3)}, {"web", mac(1), subnet.host(2)}};
}

TEST(Dnsmasq, IsStartedWithThese) {
    const DnsmasqPlan plan{
        "/usr/sbin/dnsmasq", *InterfaceName::parse("noxbr0"),    subnet,
        "dnsmasq",           "/run/noxsup-nat-0123456789abcdef", "/var/lib/noxsup/nat/leases"};
    test::expect_golden(join(dnsmasq_argv(plan), "\n") + "\n", "argv/dnsmasq.txt");
    EXPECT_EQ(dnsmasq_mark(plan), "--dhcp-hostsfile=/run/noxsup-nat-0123456789abcdef/dhcp-hosts");
    EXPECT_THAT(dnsmasq_argv(plan), testing::Contains(dnsmasq_mark(plan)));
}

TEST(Dnsmasq, KnowsEachVmByItsAddressAndItsName) {
    EXPECT_EQ(dhcp_hosts(hosts()),
              "52:54:00:10:20:02,10.213.77.3\n52:54:00:10:20:01,10.213.77.2\n");
    EXPECT_EQ(dns_hosts(hosts()),
              "10.213.77.3 db.vm.internal db\n10.213.77.2 web.vm.internal web\n");
    EXPECT_EQ(dns_hosts({{"localhost", mac(1), subnet.host(2)}}),
              "10.213.77.2 localhost.vm.internal\n")
        << "no VM is another's localhost";
    EXPECT_EQ(dhcp_hosts({}), "");
    EXPECT_EQ(dns_hosts({}), "");
}

TEST(Dnsmasq, ForgetsTheLeasesOfOthersThanWhomTheyAreKeptFor) {
    const std::string kept =
        "1732620000 52:54:00:10:20:01 10.213.77.2 * 01:52:54:00:10:20:01\n"
        "1732620000 02:00:00:00:00:07 10.213.77.200 nested *\n"
        "1732620000 02:00:00:00:00:08 10.213.77.250 * *\n";
    const std::string deleted = "1732620000 52:54:00:10:20:77 10.213.77.9 old *\n";
    const std::string of_another = "1732620000 52:54:00:10:20:77 10.213.77.3 old *\n";
    const std::string other_address = "1732620000 52:54:00:10:20:02 10.213.77.210 db *\n";
    const std::string other_network = "1732620000 02:00:00:00:00:09 10.141.77.200 * *\n";
    const std::string broken = "duid 00:01\nx\n\n1 2 3 4\n";
    EXPECT_EQ(prune_leases(kept + deleted + of_another + other_address + other_network + broken,
                           hosts(), subnet),
              kept);
    EXPECT_EQ(prune_leases("", hosts(), subnet), "");
    EXPECT_FALSE(leases_are_in_the_way(kept + deleted + other_address + broken, hosts()));
    EXPECT_TRUE(leases_are_in_the_way(kept + of_another, hosts()));
}

}  // namespace
}  // namespace noxsup::netbridge
