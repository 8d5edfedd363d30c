#include "netbridge/macvtap_lease.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <csignal>
#include <filesystem>

#include "netbridge/address_watcher.hpp"
#include "netbridge/packet_socket.hpp"
#include "tests/component/netbridge/bridge_fixture.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::netbridge {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

/// /dev/tapN has the number of a device of whichever namespace, so that tests that run side by side
/// would be in each other's way.
UniqueFd lock_nodes() {
    const auto path = std::filesystem::temp_directory_path() / "noxsup-test-macvtap.lock";
    UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (lock && ::flock(lock.get(), LOCK_EX) != 0) lock.reset();
    return lock;
}

class MacvtapOnKernel : public BridgeTest {
  protected:
    void SetUp() override {
        BridgeTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        lock_ = lock_nodes();
        test::run_program({"ip", "link", "add", "eth0", "mtu", "1400", "type", "veth", "peer",
                           "name", "cable", "mtu", "1400"});
        test::run_program({"ip", "link", "set", "eth0", "up"});
        test::run_program({"ip", "link", "set", "cable", "up"});
        const auto probe = lease(wanted(0xff), 500ms);
        if (!probe) GTEST_SKIP() << "no macvtap can be had here: " << probe.error().message;
        ASSERT_TRUE(forget_macvtap(*kernel_, name(probe->link.name)));
    }
    /// A namespace goes some time after its last process, and takes nodes along that the next test
    /// has made under the same number.
    void TearDown() override {
        if (lock_) test::run_program({"ip", "link", "del", "eth0"});
        lock_.reset();
        BridgeTest::TearDown();
    }
    MacvtapRequest wanted(std::uint8_t last) const {
        const auto like = request(last);
        return {name("eth0"), like.id, like.vm_uuid, like.guest_mac};
    }
    Result<MacvtapLease> lease(const MacvtapRequest& request,
                               std::chrono::milliseconds limit = 3s) {
        return test::run_async(context_, lease_macvtap(*kernel_, request, limit));
    }
    /// What QEMU would be to it: a reader and writer of frames.
    GuestStub plug(std::uint8_t last) {
        auto made = lease(wanted(last));
        if (!made) throw std::runtime_error(made.error().message);
        TapLease as_tap;
        as_tap.link = std::move(made->link);
        as_tap.taps = std::move(made->taps);
        return {wanted(last).guest_mac, std::move(as_tap)};
    }
    static std::optional<test::Bytes> receive_until(const GuestStub& guest,
                                                    const test::Bytes& frame) {
        for (;;) {
            auto got = guest.receive(5s);
            if (!got || *got == frame) return got;
        }
    }

    boost::asio::io_context context_;
    UniqueFd lock_;
};

TEST_F(MacvtapOnKernel, IsTheGuestsOwnDeviceOnTheCard) {
    const auto made = lease(wanted(7));
    ASSERT_TRUE(made) << made.error().message;
    const auto link = find(made->link.name);
    EXPECT_EQ(link.name, "nx" + wanted(7).id);
    EXPECT_EQ(link.kind, "macvtap");
    EXPECT_EQ(link.mac, wanted(7).guest_mac);
    EXPECT_EQ(link.alias, "noxsup:" + wanted(7).vm_uuid);
    EXPECT_EQ(link.mtu, 1400U);
    EXPECT_TRUE(link.up);
    const auto told = test::run_program({"ip", "-d", "link", "show", link.name});
    EXPECT_THAT(told, HasSubstr("macvtap mode bridge"));
    EXPECT_THAT(told, HasSubstr("ALLMULTI"));
    const auto addresses = test::slurp("/proc/self/net/if_inet6");
    EXPECT_THAT(addresses, HasSubstr("eth0")) << "others have got one by now";
    EXPECT_THAT(addresses, Not(HasSubstr(link.name)));
    ifreq request{};
    ASSERT_EQ(::ioctl(made->taps.front().get(), TUNGETIFF, &request), 0);
    EXPECT_NE(request.ifr_flags & IFF_VNET_HDR, 0);
    EXPECT_NE(::fcntl(made->taps.front().get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(MacvtapOnKernel, FramesPassToTheLanAndBack) {
    const auto guest = plug(1);
    const auto lan = open_arp_socket(find("cable").index);
    ASSERT_TRUE(lan) << lan.error().message;
    const auto question = test::arp_frame(guest.mac(), "192.168.77.50", "192.168.77.1");
    guest.send(question);
    std::array<std::uint8_t, 2048> buffer{};
    test::Bytes heard;
    while (heard != question) {
        pollfd waiting{lan->get(), POLLIN, 0};
        ASSERT_EQ(::poll(&waiting, 1, 5000), 1) << "the frame does not arrive on the wire";
        const auto got = receive_frame(lan->get(), buffer);
        ASSERT_TRUE(got);
        if (*got) heard.assign((*got)->frame.begin(), (*got)->frame.end());
    }
    const MacAddress router({0x02, 0, 0, 0, 0, 1});
    for (const auto& frame : {test::arp_frame(router, "192.168.77.1", "192.168.77.50"),
                              test::icmpv6_frame(router, 135, "fe80::1", "fd00::50")}) {
        ASSERT_EQ(::send(lan->get(), frame.data(), frame.size(), 0),
                  static_cast<ssize_t>(frame.size()));
        EXPECT_TRUE(receive_until(guest, frame)) << "also what is sent to a multicast group";
    }
}

TEST_F(MacvtapOnKernel, GuestsOnOneCardReachEachOther) {
    const auto one = plug(1);
    const auto two = plug(2);
    const auto frame = test::arp_frame(one.mac(), "192.168.77.50", "192.168.77.51");
    one.send(frame);
    EXPECT_TRUE(receive_until(two, frame));
}

TEST_F(MacvtapOnKernel, TheGuestsAddressIsSeenOnIt) {
    const auto guest = plug(1);
    const auto server = plug(2);
    auto opened = AddressWatcher::open(context_.get_executor(), name(guest.link().name),
                                       guest.mac(), GuestDevice::macvtap);
    ASSERT_TRUE(opened) << opened.error().message;
    auto& watcher = **opened;
    ASSERT_TRUE(watcher.sees_packets());
    // Of no account: what the guest itself says of leases, and others of themselves.
    guest.send(test::dhcp_ack(guest.mac(), "192.168.77.66").build());
    server.send(test::arp_frame(server.mac(), "192.168.77.21", "192.168.77.20"));
    server.send(test::dhcp_ack(server.mac(), "192.168.77.22").build());
    server.send(test::dhcp_ack(guest.mac(), "192.168.77.20").build());
    const auto leased = test::run_async(context_, watcher.next());
    ASSERT_TRUE(leased) << leased.error().message;
    ASSERT_EQ(leased->size(), 1U);
    EXPECT_EQ(leased->front().address.to_string(), "192.168.77.20");
    EXPECT_EQ(leased->front().source, AddressSource::dhcp);
    guest.send(test::arp_frame(guest.mac(), "192.168.77.40", "192.168.77.40"));
    const auto claimed = test::run_async(context_, watcher.next());
    ASSERT_TRUE(claimed) << claimed.error().message;
    ASSERT_EQ(claimed->size(), 2U);
    EXPECT_EQ(claimed->back().address.to_string(), "192.168.77.40");
    guest.send(test::icmpv6_frame(guest.mac(), 136, "fe80::1", "fd00::20"));
    const auto discovered = test::run_async(context_, watcher.next());
    ASSERT_TRUE(discovered) << discovered.error().message;
    EXPECT_EQ(discovered->back().address.to_string(), "fd00::20");
    ASSERT_TRUE(forget_macvtap(*kernel_, name(guest.link().name)));
    const auto gone = test::run_async(context_, watcher.next());
    ASSERT_FALSE(gone);
    EXPECT_EQ(gone.error().code, ErrorCode::wrong_state);
}

TEST_F(MacvtapOnKernel, AQueueForEachCpu) {
    auto many = wanted(3);
    many.queues = 4;
    const auto made = lease(many);
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(made->taps.size(), 4U);
    ifreq request{};
    ASSERT_EQ(::ioctl(made->taps.back().get(), TUNGETIFF, &request), 0);
    EXPECT_NE(request.ifr_flags & IFF_MULTI_QUEUE, 0);
}

TEST_F(MacvtapOnKernel, CyclesLeaveTheHostAsItWas) {
    const auto before = test::run_program({"ip", "-br", "link"});
    for (int i = 0; i < 50; ++i) {
        const auto made = lease(wanted(static_cast<std::uint8_t>(i)));
        ASSERT_TRUE(made) << made.error().message;
        ASSERT_TRUE(forget_macvtap(*kernel_, name(made->link.name)));
    }
    EXPECT_EQ(test::run_program({"ip", "-br", "link"}), before);
}

TEST_F(MacvtapOnKernel, ASweepAwaitsTheEndOfWhoeverHoldsIt) {
    const auto called = name("nx" + wanted(7).id);
    std::array<int, 2> ready{};
    ASSERT_EQ(::pipe2(ready.data(), O_CLOEXEC), 0);
    const auto holder = ::fork();
    ASSERT_GE(holder, 0);
    if (holder == 0) {
        boost::asio::io_context context;
        // A netlink socket of its own: on a shared one each process would get the other's answers.
        const auto kernel = open_kernel_network();
        if (!kernel) ::_exit(1);
        const auto made = test::run_async(context, lease_macvtap(**kernel, wanted(7)));
        if (!made || ::write(ready[1], "x", 1) != 1) ::_exit(2);
        for (;;) ::pause();
    }
    ::close(ready[1]);
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1) << "the other process could not make it";
    ::close(ready[0]);
    EXPECT_EQ(*sweep_macvtaps(*kernel_), 0U);
    EXPECT_TRUE(*kernel_->find_link(called));
    const auto clash = lease(wanted(7));
    EXPECT_EQ(clash.error().code, ErrorCode::already_exists);
    ::kill(holder, SIGKILL);
    int status = 0;
    EXPECT_EQ(::waitpid(holder, &status, 0), holder);
    EXPECT_TRUE(*kernel_->find_link(called)) << "unlike a TAP it stays";
    test::run_program({"ip", "link", "add", "link", "eth0", "name", "nxother", "type", "macvtap"});
    EXPECT_EQ(*sweep_macvtaps(*kernel_), 1U);
    EXPECT_FALSE(*kernel_->find_link(called));
    EXPECT_TRUE(*kernel_->find_link(name("nxother"))) << "it has no alias of ours";
}

TEST_F(MacvtapOnKernel, AnAddressInUseOnTheCardIsToldAndNothingStays) {
    const auto first = lease(wanted(1));
    ASSERT_TRUE(first) << first.error().message;
    auto twin = wanted(2);
    twin.guest_mac = wanted(1).guest_mac;
    const auto second = lease(twin);
    ASSERT_FALSE(second);
    EXPECT_THAT(second.error().message, HasSubstr("put macvtap nx" + twin.id + " on eth0"));
    EXPECT_FALSE(*kernel_->find_link(name("nx" + twin.id)));
}

TEST_F(MacvtapOnKernel, WhatIsNoCardIsRefused) {
    EXPECT_EQ(can_use_card(*kernel_, name("br0")).error().hint, "use --network bridge=br0");
    EXPECT_THAT(can_use_card(*kernel_, name("lo")).error().message, HasSubstr("no Ethernet"));
    test::run_program({"ip", "link", "set", "eth0", "master", "br0"});
    EXPECT_THAT(can_use_card(*kernel_, name("eth0")).error().message, HasSubstr("belongs to br0"));
    test::run_program({"ip", "link", "set", "eth0", "nomaster", "down"});
    EXPECT_EQ(can_use_card(*kernel_, name("eth0")).error().hint, "sudo ip link set eth0 up");
}

}  // namespace
}  // namespace noxsup::netbridge
