#include "supervisor/launch/nic.hpp"

#include <gmock/gmock.h>

#include "supervisor/launch/device_table.hpp"
#include "tests/support/sample_spec.hpp"

namespace noxsup::launch {
namespace {

using spec::Arch;
using testing::ElementsAre;
using testing::IsEmpty;

/// A card that comes, in slot 3.
spec::Network on_bridge() {
    auto card = test::sample_bridge_spec(Arch::amd64).networks[0];
    card.slot = 3;
    card.spare_port = 2;
    card.mac = "52:54:00:3f:2a:9d";
    return card;
}

TEST(Nic, OneQueueIsGivenByOneName) {
    const auto names = nic_fd_names(on_bridge(), 1, 1);
    EXPECT_EQ(netdev_json(on_bridge(), names), Json({{"type", "tap"},
                                                     {"id", "net3"},
                                                     {"fd", "net3-tap0"},
                                                     {"vhost", true},
                                                     {"vhostfd", "net3-vhost0"}}));
}

TEST(Nic, SeveralQueuesAreGivenByAList) {
    const auto names = nic_fd_names(on_bridge(), 2, 2);
    EXPECT_EQ(netdev_json(on_bridge(), names), Json({{"type", "tap"},
                                                     {"id", "net3"},
                                                     {"fds", "net3-tap0:net3-tap1"},
                                                     {"vhost", true},
                                                     {"vhostfds", "net3-vhost0:net3-vhost1"}}));
    const auto without_vhost = netdev_json(on_bridge(), nic_fd_names(on_bridge(), 2, 0));
    EXPECT_EQ(without_vhost,
              Json({{"type", "tap"}, {"id", "net3"}, {"fds", "net3-tap0:net3-tap1"}}));
}

TEST(Nic, UserModeSaysTheSameInBothLanguages) {
    auto card = test::sample_spec().networks[0];
    card.slot = 1;
    EXPECT_EQ(netdev_json(card, {}), Json({{"type", "user"},
                                           {"id", "net1"},
                                           {"hostfwd", {{{"str", "tcp:127.0.0.1:2222-:22"}}}}}));
    card.ssh_port = 0;
    card.restricted = true;
    EXPECT_EQ(netdev_json(card, {}), Json({{"type", "user"}, {"id", "net1"}, {"restrict", true}}));
    card.publish = {{"0.0.0.0", 8080, 80, spec::Protocol::tcp},
                    {"127.0.0.1", 5353, 53, spec::Protocol::udp}};
    const auto rules = netdev_json(card, {}).at("hostfwd");
    std::string option = "user,id=net1,restrict=on";
    for (const auto& rule : rules) option += ",hostfwd=" + rule.at("str").get<std::string>();
    EXPECT_EQ(rules.size(), 2U);
    EXPECT_EQ(netdev_option(card, {}), option);
}

TEST(Nic, TheDeviceIsPluggedWhereTheCommandLineHasItLater) {
    auto spec = test::sample_bridge_spec(Arch::amd64);
    spec.networks.push_back(on_bridge());
    const auto plugged = nic_json(spec, 3);
    EXPECT_EQ(plugged.at("bus"), "spare2");
    EXPECT_EQ(plugged.at("addr"), "0.0");
    EXPECT_EQ(plugged.at("id"), nic_id(on_bridge()));
    EXPECT_EQ(plugged.at("netdev"), netdev_id(on_bridge()));
    const auto argv = build_qemu_argv(spec, test::sample_qemu(spec.arch), {});
    EXPECT_THAT(argv, testing::Contains(dump_json(plugged)));
}

/// QEMU's answer for pcie.0 with these devices.
Json pci(Json devices) {
    return {{{"bus", 0}, {"devices", std::move(devices)}}};
}

TEST(Nic, PlacesThatQemuHasGivenAwayAreSeen) {
    const auto port = [](const std::string& id, Json behind) {
        return Json{{"qdev_id", id}, {"pci_bridge", {{"devices", std::move(behind)}}}};
    };
    const auto empty = Json::array();
    auto taken = taken_places(pci({{{"qdev_id", "nic0"}},
                                   {{"qdev_id", ""}},
                                   {{"qdev_id", "disk0"}},
                                   port("spare0", {{{"qdev_id", "nic3"}}}),
                                   port("spare1", empty),
                                   port("spare3", {{{"qdev_id", "a rng"}}}),
                                   {{"qdev_id", "spare2"}, {"pci_bridge", Json::object()}}}));
    EXPECT_THAT(taken.slots, ElementsAre(0U, 3U));
    EXPECT_THAT(taken.ports, ElementsAre(0U, 3U));
}

TEST(Nic, OddAnswersArePassedOver) {
    for (const auto& odd :
         {Json(), Json(5), Json::object(), Json::array({5, "x", Json::object()}), pci(7),
          pci({5, {{"qdev_id", 7}}, {{"qdev_id", "nic"}}, {{"qdev_id", "nic-1"}}}),
          pci({{{"qdev_id", "nicx"}, {"pci_bridge", 5}}, {{"qdev_id", "nic99999999999"}}})}) {
        const auto taken = taken_places(odd);
        EXPECT_THAT(taken.slots, IsEmpty()) << odd;
        EXPECT_THAT(taken.ports, IsEmpty()) << odd;
    }
}

}  // namespace
}  // namespace noxsup::launch
