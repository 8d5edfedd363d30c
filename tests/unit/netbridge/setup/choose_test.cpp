#include "netbridge/setup/choose.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/fake_kernel_network.hpp"
#include "tests/support/fake_setup_host.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::netbridge::setup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Candidate device(int index, const std::string& name, const std::string& kind = {}) {
    Candidate device;
    device.link.index = index;
    device.link.name = name;
    device.link.kind = kind;
    device.link.up = true;
    device.link.mac = MacAddress({2, 0, 0, 0, 0, static_cast<std::uint8_t>(index)});
    return device;
}

std::vector<Candidate> raspberry() {
    auto lo = device(1, "lo");
    lo.link.mac = {};
    auto wlan = device(3, "wlan0");
    wlan.wireless = true;
    return {lo, device(2, "eth0"), wlan};
}

Error refused(const std::vector<Candidate>& candidates, const std::string& name) {
    const auto card = choose_card(candidates, name, "br0");
    if (card) throw std::runtime_error(card->name + " was taken");
    EXPECT_FALSE(card.error().hint.empty());
    return card.error();
}

TEST(ChooseCard, TakesTheOnlyWiredOne) {
    const auto card = choose_card(raspberry(), "", "br0");
    ASSERT_TRUE(card) << card.error().message;
    EXPECT_EQ(card->name, "eth0");
    auto several = raspberry();
    several.push_back(device(4, "eth1"));
    EXPECT_THAT(refused(several, "").message, HasSubstr("eth0, eth1"));
    EXPECT_EQ(choose_card(several, "eth1", "br0")->name, "eth1");
    several.back().link.up = false;
    EXPECT_EQ(choose_card(several, "", "br0")->name, "eth0");
}

TEST(ChooseCard, WifiIsRefusedWithTheReasonAndTheOtherWay) {
    const auto error = refused(raspberry(), "wlan0");
    EXPECT_THAT(error.message, HasSubstr("wlan0 is a Wi-Fi interface"));
    EXPECT_THAT(error.hint, HasSubstr("--network user"));
    auto alone = raspberry();
    alone.erase(alone.begin() + 1);
    EXPECT_THAT(refused(alone, "").message, HasSubstr("wlan0 is a Wi-Fi interface"));
}

TEST(ChooseCard, EachRefusalNamesTheReason) {
    auto host = raspberry();
    EXPECT_THAT(refused(host, "eth9").message, HasSubstr("no network interface eth9"));
    EXPECT_THAT(refused(host, "eth9").hint, HasSubstr("eth0"));
    EXPECT_THAT(refused(host, "lo").message, HasSubstr("no Ethernet card"));
    host.push_back(device(7, "br7", "bridge"));
    EXPECT_THAT(refused(host, "br7").message, HasSubstr("br7 is a bridge already"));
    host[1].link.master = 7;
    EXPECT_THAT(refused(host, "eth0").message, HasSubstr("eth0 is a port of the bridge br7"));
    EXPECT_THAT(refused(host, "eth0").hint, HasSubstr("--network bridge=br7"));
    host.push_back(device(8, "bond0", "bond"));
    host[1].link.master = 8;
    EXPECT_THAT(refused(host, "eth0").message, HasSubstr("eth0 belongs to bond0"));
    EXPECT_THAT(refused(host, "bond0").message, HasSubstr("of kind bond"));
    host.push_back(device(9, "eth0.5", "vlan"));
    EXPECT_THAT(refused(host, "eth0.5").message, HasSubstr("of kind vlan"));
    host[1].link.master = 0;
    host[1].uppers = {"eth0.5"};
    EXPECT_THAT(refused(host, "eth0").message, HasSubstr("carries other devices: eth0.5"));
}

TEST(ChooseCard, ABridgeThatIsThereCanBeUsed) {
    auto host = raspberry();
    host.push_back(device(7, "br0", "bridge"));
    const auto error = refused(host, "eth0");
    EXPECT_EQ(error.code, ErrorCode::already_exists);
    EXPECT_THAT(error.hint, HasSubstr("--network bridge=br0"));
    host.back().link.kind = "dummy";
    EXPECT_THAT(refused(host, "eth0").message, HasSubstr("no bridge"));
}

TEST(ReadCandidates, FindsWhatLiesOnACard) {
    const test::TempDir sys;
    for (const auto* path :
         {"class/net/eth0/upper_eth0.5", "class/net/eth1/upper_br0", "class/net/wlan0/phy80211"})
        std::filesystem::create_directories(sys / path);
    test::FakeKernelNetwork kernel;
    const auto add = [&](const std::string& name, const std::string& kind, int master) {
        Link link;
        link.name = name;
        link.kind = kind;
        link.master = master;
        return kernel.add_link(link);
    };
    const auto bridge = add("br0", "bridge", 0);
    add("eth0", "", 0);
    add("eth1", "", bridge);
    add("wlan0", "", 0);
    const auto found = read_candidates(kernel, {sys.path(), sys.path()});
    ASSERT_TRUE(found);
    ASSERT_EQ(found->size(), 4U);
    EXPECT_THAT((*found)[1].uppers, ElementsAre("eth0.5"));
    EXPECT_THAT((*found)[2].uppers, IsEmpty());
    EXPECT_TRUE((*found)[3].wireless);
}

TEST(MakePlan, NeedsJustOneManager) {
    const BridgeWish wish{"eth0", "br0", MacAddress({2, 0, 0, 0, 0, 1})};
    ManagerFacts facts;
    EXPECT_THAT(make_plan(wish, facts, {}).error().message, HasSubstr("neither systemd-networkd"));
    facts.networkd.state = "configured";
    facts.networkd.file = "/etc/systemd/network/20.network";
    facts.networkd.texts = {"[Network]\nDHCP=yes\n"};
    EXPECT_EQ(make_plan(wish, facts, {})->manager, Manager::networkd);
    facts.network_manager.state = 100;
    EXPECT_THAT(make_plan(wish, facts, {}).error().message,
                HasSubstr("systemd-networkd and NetworkManager at once"));
    facts.networkd.state = "unmanaged";
    EXPECT_EQ(make_plan(wish, facts, {})->manager, Manager::network_manager);
    facts.network_manager.external = true;
    facts.ifupdown.up = true;
    facts.ifupdown.files = {{"/etc/network/interfaces", {"iface eth0 inet dhcp\n", 0644, 0, 0}}};
    EXPECT_EQ(make_plan(wish, facts, {})->manager, Manager::ifupdown);
}

TEST(PlainName, RefusesWhatFilesWouldReadAsSomethingElse) {
    for (const auto* name : {"eth0", "enp0s31f6", "br-lan.5", "a_b"}) EXPECT_TRUE(plain_name(name));
    for (const auto* name :
         {"", "a b", "eth*", "$(id)", "a;b", "-x", "a\"b", "a\nb", "[x]", "0123456789abcdef"})
        EXPECT_FALSE(plain_name(name)) << name;
}

TEST(PlanBridge, AFileThatIsThereAlreadyIsNotReplaced) {
    test::FakeKernelNetwork kernel;
    Link card;
    card.name = "eth0";
    card.up = true;
    card.mac = MacAddress({2, 0, 0, 0, 0, 1});
    kernel.add_link(card);
    test::FakeSetupHost host;
    host.answers["networkctl --json=short status eth0"] =
        R"({"AdministrativeState":"configured","NetworkFile":"/etc/systemd/network/20.network"})";
    host.add("/etc/systemd/network/20.network", "[Match]\nName=eth0\n[Network]\nDHCP=yes\n");
    EXPECT_TRUE(plan_bridge(host, kernel, "", "br0"));
    host.add("/etc/systemd/network/05-noxsup-br0.network", "mine");
    const auto plan = plan_bridge(host, kernel, "", "br0");
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code, ErrorCode::already_exists);
    EXPECT_THAT(host.log, IsEmpty());
    EXPECT_FALSE(plan_bridge(host, kernel, "eth0", "br$(id)"));
}

}  // namespace
}  // namespace noxsup::netbridge::setup
