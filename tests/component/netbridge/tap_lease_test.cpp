#include "netbridge/tap_lease.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "tests/component/netbridge/bridge_fixture.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::netbridge {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;
using Clock = std::chrono::steady_clock;

class TapLeaseOnKernel : public BridgeTest {
  protected:
    std::string port_list() {
        return test::run_program({"ip", "-br", "link", "show", "master", "br0"});
    }

    /// Starts and ends `count` VMs' TAPs; br0's MAC is compared at each point.
    void cycle(int count) {
        const auto mac = find("br0").mac;
        const auto ports = port_list();
        Clock::duration spent{};
        for (int i = 0; i < count; ++i) {
            const auto begin = Clock::now();
            auto lease = lease_tap(*kernel_, request(static_cast<std::uint8_t>(i)));
            spent += Clock::now() - begin;
            ASSERT_TRUE(lease) << lease.error().message;
            ASSERT_EQ(find("br0").mac, mac) << "TAP made, cycle " << i;
            lease->taps.clear();
            ASSERT_EQ(find("br0").mac, mac) << "TAP gone, cycle " << i;
        }
        EXPECT_EQ(port_list(), ports);
        EXPECT_EQ(find("br0").mtu, bridge_mtu);
        const auto each = std::chrono::duration_cast<std::chrono::microseconds>(spent) / count;
        RecordProperty("microseconds_per_lease", std::to_string(each.count()));
        std::cout << "TAP lease: " << each.count() << " us\n";
    }
};

TEST_F(TapLeaseOnKernel, IsAPortThatNamesItsVm) {
    const auto wanted = request(7);
    const auto lease = lease_tap(*kernel_, wanted);
    ASSERT_TRUE(lease) << lease.error().message;
    const auto tap = find(lease->link.name);
    EXPECT_EQ(tap.name, "nx" + wanted.id);
    EXPECT_EQ(tap.alias, "noxsup:" + wanted.vm_uuid);
    EXPECT_EQ(tap.mac.to_string(), "fe:54:00:10:20:07");
    EXPECT_EQ(tap.mtu, bridge_mtu);
    EXPECT_EQ(tap.master, find("br0").index);
    EXPECT_TRUE(tap.up);
    EXPECT_EQ(lease->link.index, tap.index);
    EXPECT_EQ(find("br0").mtu, bridge_mtu);
}

TEST_F(TapLeaseOnKernel, HasNoIpv6Address) {
    const auto guest = make_guest(7);
    // A device that has one gets it at once when it comes up; br0 has one by now for comparison.
    const auto addresses = test::slurp("/proc/self/net/if_inet6");
    EXPECT_THAT(addresses, HasSubstr("br0"));
    EXPECT_THAT(addresses, Not(HasSubstr(guest.link().name)));
}

TEST_F(TapLeaseOnKernel, AddressOfAnEmptyBridgeStaysOver200Cycles) {
    cycle(200);
}

TEST_F(TapLeaseOnKernel, AddressOfABridgeWithACardStaysAndFollowsItStill) {
    test::run_program({"ip", "link", "add", "eth0", "mtu", std::to_string(bridge_mtu), "address",
                       "08:00:00:00:00:07", "type", "veth", "peer", "name", "cable"});
    test::run_program({"ip", "link", "set", "eth0", "master", "br0", "up"});
    ASSERT_EQ(find("br0").mac.to_string(), "08:00:00:00:00:07");
    cycle(20);
    EXPECT_FALSE(find("br0").fixed_mac) << "the host's own choice is left alone";
}

TEST_F(TapLeaseOnKernel, KillingTheHolderLeavesNothing) {
    const auto holder = ::fork();
    ASSERT_GE(holder, 0);
    if (holder == 0) {
        // A netlink socket of its own: on a shared one each process would get the other's answers.
        const auto kernel = open_kernel_network();
        if (!kernel) ::_exit(1);
        const auto lease = lease_tap(**kernel, request(7));
        if (!lease) ::_exit(2);
        for (;;) ::pause();
    }
    const auto tap = name("nx" + request(7).id);
    const auto wait_for = [&](bool present) {
        for (const auto end = Clock::now() + 10s; Clock::now() < end;) {
            const auto link = kernel_->find_link(tap);
            if (link && link->has_value() == present && (!present || (*link)->up)) return true;
            std::this_thread::sleep_for(5ms);
        }
        return false;
    };
    EXPECT_TRUE(wait_for(true));
    ::kill(holder, SIGKILL);
    int status = 0;
    EXPECT_EQ(::waitpid(holder, &status, 0), holder);
    EXPECT_TRUE(WIFSIGNALED(status)) << "it ended by itself: " << WEXITSTATUS(status);
    EXPECT_TRUE(wait_for(false));
    EXPECT_EQ(port_list(), "");
}

TEST_F(TapLeaseOnKernel, ManyVmsWithOneNamePrefixHaveTheirOwn) {
    std::vector<GuestStub> guests;
    for (std::uint8_t i = 0; i < 20; ++i) guests.push_back(make_guest(i));
    const auto ports = port_list();
    EXPECT_EQ(std::ranges::count(ports, '\n'), 20);
}

TEST_F(TapLeaseOnKernel, FramesPassBetweenGuests) {
    const auto one = make_guest(1);
    const auto two = make_guest(2);
    const auto frame = test::arp_frame(one.mac(), "192.168.77.50", "192.168.77.51");
    one.send(frame);
    for (;;) {
        const auto got = two.receive(2s);
        ASSERT_TRUE(got) << "the frame did not arrive";
        if (*got == frame) break;
    }
}

TEST_F(TapLeaseOnKernel, AFailureInTheKernelReleasesTheDevice) {
    // 1,023 ports are the most a bridge has; an MTU that TAPs cannot have is the cheaper way to
    // fail.
    test::run_program({"ip", "link", "set", "br0", "mtu", "65535"});
    const auto lease = lease_tap(*kernel_, request(7));
    ASSERT_FALSE(lease);
    EXPECT_THAT(lease.error().message, HasSubstr("set MTU 65535 of nx"));
    EXPECT_FALSE(*kernel_->find_link(name("nx" + request(7).id)));
}

}  // namespace
}  // namespace noxsup::netbridge
