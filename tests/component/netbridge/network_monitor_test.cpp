#include "netbridge/network_monitor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/component/netbridge/bridge_fixture.hpp"

namespace noxsup::netbridge {
namespace {

using testing::Contains;
using testing::IsEmpty;
using testing::Not;

class NetworkMonitorTest : public BridgeTest {
  protected:
    static void set_neighbour(const std::string& address, const std::string& mac) {
        test::run_program(
            {"ip", "neigh", "replace", address, "lladdr", mac, "dev", "br0", "nud", "reachable"});
    }
};

TEST_F(NetworkMonitorTest, TellsNewNeighboursAndRemovedLinks) {
    const auto monitor = NetworkMonitor::open();
    ASSERT_TRUE(monitor) << monitor.error().message;
    auto changes = (*monitor)->drain();
    ASSERT_TRUE(changes);
    EXPECT_THAT(changes->neighbours, IsEmpty());
    set_neighbour("192.168.77.9", "02:00:00:00:00:09");
    changes = (*monitor)->drain();
    ASSERT_TRUE(changes);
    const Neighbour expected{find("br0").index, *parse_ip("192.168.77.9"),
                             MacAddress({2, 0, 0, 0, 0, 9}), NeighbourState::confirmed};
    EXPECT_THAT(changes->neighbours, Contains(expected));
    EXPECT_FALSE(changes->missed);

    auto guest = make_guest(1);
    const int index = guest.link().index;
    changes = (*monitor)->drain();
    ASSERT_TRUE(changes);
    EXPECT_THAT(changes->removed_links, Not(Contains(index)));
    guest.unplug();
    changes = (*monitor)->drain();
    ASSERT_TRUE(changes);
    EXPECT_THAT(changes->removed_links, Contains(index));
}

TEST_F(NetworkMonitorTest, LeavingTheBridgeIsNoRemoval) {
    const auto guest = make_guest(1);
    const auto monitor = NetworkMonitor::open();
    ASSERT_TRUE(monitor);
    test::run_program({"ip", "link", "set", guest.link().name, "nomaster"});
    const auto changes = (*monitor)->drain();
    ASSERT_TRUE(changes);
    EXPECT_THAT(changes->removed_links, IsEmpty());
}

TEST_F(NetworkMonitorTest, WhenNewsAreLostTheTableTells) {
    const auto monitor = NetworkMonitor::open();
    ASSERT_TRUE(monitor);
    std::string batch;
    constexpr int count = 3000;
    for (int i = 0; i < count; ++i) {
        batch += "neigh add 10." + std::to_string(i / 250) + ".0." + std::to_string(i % 250 + 1) +
                 " lladdr 02:00:00:00:00:09 dev br0 nud permanent\n";
    }
    test::run_program({"ip", "-batch", "-"}, batch);
    const auto changes = (*monitor)->drain();
    ASSERT_TRUE(changes);
    EXPECT_TRUE(changes->missed);
    const Neighbour last{find("br0").index, *parse_ip("10.11.0.250"),
                         MacAddress({2, 0, 0, 0, 0, 9}), NeighbourState::confirmed};
    EXPECT_THAT(changes->neighbours, Contains(last));
    const auto after = (*monitor)->drain();
    ASSERT_TRUE(after);
    EXPECT_FALSE(after->missed);
}

}  // namespace
}  // namespace noxsup::netbridge
