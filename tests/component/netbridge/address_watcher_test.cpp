#include "netbridge/address_watcher.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "supervisor/base/async.hpp"
#include "tests/component/netbridge/bridge_fixture.hpp"
#include "tests/support/run_async.hpp"

namespace noxsup::netbridge {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
namespace asio = boost::asio;

using Addresses = std::vector<ObservedAddress>;

std::vector<std::string> shown(const Addresses& addresses) {
    std::vector<std::string> result;
    for (const auto& entry : addresses) {
        result.push_back(entry.address.to_string() + " " + std::string(to_string(entry.source)));
    }
    return result;
}

class AddressWatcherTest : public BridgeTest {
  protected:
    std::unique_ptr<AddressWatcher> watch(const GuestStub& guest) {
        auto watcher =
            AddressWatcher::open(context_.get_executor(), name(guest.link().name), guest.mac());
        if (!watcher) throw std::runtime_error(watcher.error().message);
        return std::move(*watcher);
    }
    Result<Addresses> next(AddressWatcher& watcher, std::chrono::seconds limit = 10s) {
        return test::run_async(context_, watcher.next(), limit);
    }
    /// What next() gives when nothing happens for a while.
    std::string next_is_silent(AddressWatcher& watcher) {
        const Error late(ErrorCode::timeout, "nothing");
        const auto outcome = test::run_async(context_, with_deadline(watcher.next(), 200ms, late));
        return outcome ? "news: " + testing::PrintToString(shown(*outcome))
                       : outcome.error().message;
    }
    static void set_neighbour(const std::string& address, const MacAddress& mac,
                              const std::string& state = "reachable") {
        test::run_program({"ip", "neigh", "replace", address, "lladdr", mac.to_string(), "dev",
                           "br0", "nud", state});
    }
    asio::io_context context_;
};

TEST_F(AddressWatcherTest, AnAckIsKnownAtOnceAndFollowed) {
    const auto guest = make_guest(1);
    const auto server = make_guest(2);
    const auto watcher = watch(guest);
    EXPECT_TRUE(watcher->sees_packets());
    EXPECT_THAT(watcher->addresses(), IsEmpty());
    server.send(test::dhcp_ack(guest.mac(), "192.168.77.20").build());
    const auto first = next(*watcher);
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_THAT(shown(*first), ElementsAre("192.168.77.20 dhcp"));
    EXPECT_EQ((*first)[0].prefix_length, 24U);
    EXPECT_EQ((*first)[0].gateway, *parse_ip("192.168.77.1"));
    EXPECT_EQ((*first)[0].lease, 3600s);
    server.send(test::dhcp_ack(guest.mac(), "192.168.77.20").build());
    EXPECT_EQ(next_is_silent(*watcher), "nothing") << "a duplicate";
    server.send(test::dhcp_ack(guest.mac(), "192.168.77.30").build());
    EXPECT_THAT(shown(*next(*watcher)), ElementsAre("192.168.77.30 dhcp"));
}

TEST_F(AddressWatcherTest, AnswersToOthersAndBoastsOfTheGuestAreIgnored) {
    const auto guest = make_guest(1);
    const auto server = make_guest(2);
    const auto watcher = watch(guest);
    server.send(test::dhcp_ack(server.mac(), "192.168.77.20").build());
    guest.send(test::dhcp_ack(guest.mac(), "192.168.77.66").build());
    server.send(test::arp_frame(server.mac(), "192.168.77.21", "192.168.77.20"));
    EXPECT_EQ(next_is_silent(*watcher), "nothing");
    EXPECT_THAT(watcher->addresses(), IsEmpty());
}

TEST_F(AddressWatcherTest, AStaticAddressIsKnownByItsAnnouncement) {
    const auto guest = make_guest(1);
    const auto watcher = watch(guest);
    guest.send(test::arp_frame(guest.mac(), "0.0.0.0", "192.168.77.40"));
    EXPECT_EQ(next_is_silent(*watcher), "nothing") << "a probe is no claim";
    guest.send(test::arp_frame(guest.mac(), "192.168.77.40", "192.168.77.40"));
    EXPECT_THAT(shown(*next(*watcher)), ElementsAre("192.168.77.40 arp"));
}

TEST_F(AddressWatcherTest, AnIpv6AddressIsKnownByNeighbourDiscovery) {
    const auto guest = make_guest(1);
    const auto watcher = watch(guest);
    guest.send(test::icmpv6_frame(guest.mac(), 135, "::", "fd00::20"));
    guest.send(test::icmpv6_frame(guest.mac(), 133, "fd00::20", "fd00::20"));
    EXPECT_EQ(next_is_silent(*watcher), "nothing") << "a probe and a router's solicitation";
    guest.send(test::icmpv6_frame(guest.mac(), 136, "fe80::1", "fd00::20"));
    EXPECT_THAT(shown(*next(*watcher)), ElementsAre("fd00::20 ndp"));
}

TEST_F(AddressWatcherTest, TheNeighbourTableSpeaksForTheTimeBefore) {
    const auto guest = make_guest(1);
    set_neighbour("192.168.77.50", guest.mac(), "stale");
    set_neighbour("192.168.77.51", MacAddress({2, 0, 0, 0, 0, 9}));
    const auto watcher = watch(guest);
    EXPECT_THAT(shown(watcher->addresses()), ElementsAre("192.168.77.50 neighbour"));
    EXPECT_THAT(shown(*next(*watcher)), ElementsAre("192.168.77.50 neighbour"));
    set_neighbour("192.168.77.50", MacAddress({2, 0, 0, 0, 0, 9}));
    EXPECT_THAT(shown(*next(*watcher)), IsEmpty());
}

TEST_F(AddressWatcherTest, WithoutTheRightToWatchTheNeighbourTableTells) {
    const auto guest = make_guest(1);
    std::unique_ptr<AddressWatcher> watcher;
    {
        const test::WithoutCapability less(CAP_NET_RAW);
        watcher = watch(guest);
    }
    EXPECT_FALSE(watcher->sees_packets());
    // The guest asks for the host's MAC, and so the kernel learns the guest's address.
    guest.send(test::arp_frame(guest.mac(), "192.168.77.60", "192.168.77.1"));
    const auto seen = next(*watcher);
    ASSERT_TRUE(seen) << seen.error().message;
    EXPECT_THAT(shown(*seen), ElementsAre("192.168.77.60 neighbour"));
}

TEST_F(AddressWatcherTest, AGoneTapEndsTheWatch) {
    for (const bool packets : {true, false}) {
        auto guest = make_guest(1);
        std::unique_ptr<AddressWatcher> watcher;
        if (packets) {
            watcher = watch(guest);
        } else {
            const test::WithoutCapability less(CAP_NET_RAW);
            watcher = watch(guest);
        }
        asio::steady_timer later(context_, 50ms);
        later.async_wait([&](auto) { guest.unplug(); });
        const auto outcome = next(*watcher);
        ASSERT_FALSE(outcome);
        EXPECT_EQ(outcome.error().code, ErrorCode::wrong_state);
        EXPECT_EQ(outcome.error().message, "the TAP nx0011223344510 is gone");
    }
}

TEST_F(AddressWatcherTest, ATapThatIsDownForAWhileIsStillWatched) {
    const auto guest = make_guest(1);
    const auto server = make_guest(2);
    const auto watcher = watch(guest);
    test::run_program({"ip", "link", "set", guest.link().name, "down"});
    EXPECT_EQ(next_is_silent(*watcher), "nothing");
    test::run_program({"ip", "link", "set", guest.link().name, "up"});
    guest.send(test::arp_frame(guest.mac(), "192.168.77.40", "192.168.77.40"));
    EXPECT_THAT(shown(*next(*watcher)), ElementsAre("192.168.77.40 arp"));
}

TEST_F(AddressWatcherTest, NoSuchTapIsAnError) {
    const auto watcher = AddressWatcher::open(context_.get_executor(), name("nxnothing"),
                                              MacAddress({2, 0, 0, 0, 0, 1}));
    ASSERT_FALSE(watcher);
    EXPECT_EQ(watcher.error().code, ErrorCode::wrong_state);
}

TEST_F(AddressWatcherTest, CancellingIsClean) {
    const auto guest = make_guest(1);
    const auto watcher = watch(guest);
    std::optional<Result<Addresses>> outcome;
    TaskGroup tasks(context_.get_executor());
    auto task = [&]() -> asio::awaitable<void> {
        auto seen = co_await watcher->next();
        outcome.emplace(std::move(seen));
    };
    tasks.spawn("watcher", task());
    context_.restart();
    context_.run_for(50ms);
    EXPECT_FALSE(outcome);
    tasks.cancel();
    context_.restart();
    context_.run_for(5s);
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->error().code, ErrorCode::interrupted);
}

/// A macvtap outlives its QEMU, and what watched it goes first.
TEST_F(AddressWatcherTest, MayGoWhileSomeoneWaits) {
    const auto guest = make_guest(1);
    auto watcher = watch(guest);
    std::optional<Result<Addresses>> outcome;
    asio::co_spawn(context_, watcher->next(), [&outcome](const std::exception_ptr&, auto result) {
        outcome = std::move(result);
    });
    context_.restart();
    context_.run_for(50ms);
    ASSERT_FALSE(outcome);
    watcher.reset();
    context_.restart();
    context_.run_for(1s);
    ASSERT_TRUE(outcome);
    ASSERT_FALSE(*outcome);
    EXPECT_EQ(outcome->error().code, ErrorCode::interrupted);
}

}  // namespace
}  // namespace noxsup::netbridge
