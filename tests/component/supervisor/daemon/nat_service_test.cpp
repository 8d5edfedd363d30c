// The managed NAT network for real: kernel, nftables, dnsmasq, and guests at the end of cables.
#include "supervisor/daemon/nat_service.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "netbridge/nat/forwarding.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"
#include "tests/support/fake_kernel_network.hpp"
#include "tests/support/net_namespace.hpp"
#include "tests/support/other_host.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::daemon {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

const std::string web_mac = "52:54:00:00:00:01";
const std::string db_mac = "52:54:00:00:00:02";

class NatServiceTest : public testing::Test {
  protected:
    void SetUp() override {
        if (!namespace_.problem().empty()) GTEST_SKIP() << namespace_.problem();
        if (::geteuid() != 0) GTEST_SKIP() << "dnsmasq becomes another user, which takes root";
        for (const auto* program : {"dnsmasq", "nft", "busybox", "nsenter"}) {
            if (!find_program(program)) GTEST_SKIP() << program << " is not installed";
        }
        auto kernel = netbridge::open_kernel_network();
        ASSERT_TRUE(kernel) << kernel.error().message;
        kernel_ = std::move(*kernel);
        dir_.write("client",
                   "#!/bin/sh\n"
                   "[ \"$1\" = bound ] || [ \"$1\" = renew ] || exit 0\n"
                   "ip addr flush dev \"$interface\"\n"
                   "ip addr add \"$ip/$mask\" dev \"$interface\"\n"
                   "ip route replace default via \"$router\"\n"
                   "echo \"told: $ip $router $dns $domain\"\n");
        std::filesystem::permissions(dir_ / "client", std::filesystem::perms::owner_all);
    }

    void TearDown() override {
        if (!kernel_) return;
        if (service_) lose_service();
        // Whatever a test has left.
        guests_.clear();
        make_service();
        begin();
        EXPECT_THAT(left(), IsEmpty());
        lose_service();
    }

    void make_service(netbridge::KernelNetwork* kernel = nullptr,
                      std::chrono::milliseconds linger = 0ms) {
        NatService::Options options;
        options.executor = context_.get_executor();
        options.home = dir_.path().string();
        options.directory = dir_ / "nat";
        options.boot_id = "this boot";
        options.guests = [this] { return guests_; };
        options.views = views_;
        options.linger = linger;
        options.first_delay = 50ms;
        service_ = std::make_unique<NatService>(kernel != nullptr ? *kernel : *kernel_,
                                                std::move(options));
    }

    void begin() {
        auto all = [](NatService& service) -> boost::asio::awaitable<bool> {
            co_await service.begin();
            co_return true;
        };
        test::run_async(context_, all(*service_));
    }

    void check() {
        auto all = [](NatService& service) -> boost::asio::awaitable<bool> {
            co_await service.check();
            co_return true;
        };
        test::run_async(context_, all(*service_));
    }

    NatService::Use use(NatService::Ports ports = {}) {
        auto used = test::run_async(context_, service_->use(std::move(ports)));
        if (!used) throw std::runtime_error(used.error().message);
        return *used;
    }

    /// Lets the service's own tasks run until `done` says so, or some time has passed.
    bool wait_until(const std::function<bool()>& done, std::chrono::seconds limit = 20s) {
        auto waiting = [](std::function<bool()> good,
                          std::chrono::seconds most) -> boost::asio::awaitable<bool> {
            const auto end = std::chrono::steady_clock::now() + most;
            while (std::chrono::steady_clock::now() < end) {
                if (good()) co_return true;
                co_await sleep_for(20ms);
            }
            co_return false;
        };
        return test::run_async(context_, waiting(done, limit));
    }

    /// A supervisor that is gone at once, as by SIGKILL.
    void lose_service() {
        service_->cancel();
        auto ending = [](NatService& service) -> boost::asio::awaitable<bool> {
            co_await service.join();
            co_return true;
        };
        test::run_async(context_, ending(*service_));
        service_.reset();
    }

    std::unique_ptr<test::OtherHost> plug(const std::string& port, const std::string& mac) {
        auto guest = std::make_unique<test::OtherHost>(port, mac);
        test::run_program({"ip", "link", "set", port, "master", "noxbr0"});
        return guest;
    }

    /// What the guest's DHCP client was told: "ADDRESS ROUTER DNS DOMAIN".
    std::string get_address(const test::OtherHost& guest) {
        const auto said = guest.run({"busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "10",
                                     "-T", "1", "-s", (dir_ / "client").string()});
        const auto at = said.find("told: ");
        if (at == std::string::npos) return "nothing: " + said;
        return std::string(trim(said.substr(at + 6)));
    }

    /// What there is of a NAT network.
    std::vector<std::string> left() {
        std::vector<std::string> things;
        if (*kernel_->find_link(*netbridge::InterfaceName::parse("noxbr0")))
            things.push_back("noxbr0");
        for (const auto& table : *kernel_->ip_rule_tables()) things.push_back("table " + table);
        const auto owner = netbridge::NatOwner::of(dir_.path().string());
        const auto hosts = "/run/noxsup-nat-" + owner.id;
        if (std::filesystem::exists(hosts)) things.push_back(hosts);
        if (find_dnsmasq(std::nullopt, "--dhcp-hostsfile=" + hosts + "/dhcp-hosts"))
            things.push_back("dnsmasq");
        return things;
    }

    test::NetNamespace namespace_;
    test::TempDir dir_{test::TempDir::In::memory};
    boost::asio::io_context context_;
    std::unique_ptr<netbridge::KernelNetwork> kernel_;
    netbridge::KernelViews views_;
    std::vector<NatGuest> guests_{{"web", web_mac}, {"db", db_mac}};
    std::unique_ptr<NatService> service_;
};

TEST_F(NatServiceTest, GuestsHaveAddressesNamesAndAWayOut) {
    // The network outside knows nothing of VMs' addresses.
    const test::OtherHost outside("up0");
    test::run_program({"ip", "address", "add", "192.0.2.1/24", "dev", "up0"});
    outside.run({"ip", "address", "add", "192.0.2.2/24", "dev", "eth0"});
    make_service();
    begin();
    EXPECT_THAT(left(), IsEmpty());
    auto used = use();
    EXPECT_THAT(service_->notes(), IsEmpty());
    const auto web = plug("p1", web_mac);
    const auto db = plug("p2", db_mac);
    EXPECT_EQ(get_address(*web), "10.213.77.2 10.213.77.1 10.213.77.1 vm.internal");
    EXPECT_EQ(get_address(*db), "10.213.77.3 10.213.77.1 10.213.77.1 vm.internal");
    for (const auto* name : {"web", "web.vm.internal"}) {
        EXPECT_THAT(db->run({"busybox", "nslookup", "-type=a", name, "10.213.77.1"}),
                    HasSubstr("10.213.77.2"));
    }
    EXPECT_TRUE(db->can_ping("10.213.77.2")) << "VMs reach each other";
    EXPECT_TRUE(web->can_ping("192.0.2.2")) << "and through the host what is outside";
    test::run_program({"busybox", "ping", "-c", "1", "-W", "2", "10.213.77.2"});
    // A neighbour outside that tries them gets nowhere, neither to VMs nor to the host's address.
    outside.run({"ip", "route", "add", "10.213.77.0/24", "via", "192.0.2.1"});
    EXPECT_FALSE(outside.can_ping("10.213.77.2"));
    EXPECT_FALSE(outside.can_ping("10.213.77.1"));
    EXPECT_TRUE(outside.can_ping("192.0.2.1"));
    EXPECT_TRUE(netbridge::forwards("up0"));
    EXPECT_FALSE(netbridge::forwards_everywhere());

    used.reset();
    EXPECT_FALSE(wait_until([&] { return left().empty(); }, 3s)) << "ports are users as well";
}

TEST_F(NatServiceTest, PublishedPortsLeadToTheirVmWhileItRuns) {
    const test::OtherHost outside("up0");
    test::run_program({"ip", "address", "add", "192.0.2.1/24", "dev", "up0"});
    outside.run({"ip", "address", "add", "192.0.2.2/24", "dev", "eth0"});
    make_service();
    begin();
    const auto mac = *netbridge::MacAddress::parse(web_mac);
    auto used = use({{mac, *netbridge::parse_publish("0.0.0.0:8080:80")}});
    const auto stays = use();
    const auto web = plug("p1", web_mac);
    const auto db = plug("p2", db_mac);
    get_address(*web);
    get_address(*db);
    const std::vector<std::string> ask{"sh", "-c",
                                       "busybox nc -w 5 192.0.2.1 8080 | grep -q hello"};
    // One connection each.
    const auto serve = [&] {
        web->run({"sh", "-c", "busybox nc -l -p 80 -e echo hello >/dev/null 2>&1 &"});
        ASSERT_TRUE(wait_until([&] { return web->can({"sh", "-c", "ss -lnt | grep -q ':80 '"}); }));
    };
    serve();
    EXPECT_TRUE(outside.can(ask));
    serve();
    EXPECT_TRUE(db->can(ask)) << "another VM";
    serve();
    EXPECT_NO_THROW(test::run_program(ask)) << "the host";

    // The next supervisor forwards it as well.
    lose_service();
    used.reset();
    make_service();
    used = service_->keep({{mac, *netbridge::parse_publish("0.0.0.0:8080:80")}});
    const auto still = service_->keep({});
    begin();
    serve();
    EXPECT_TRUE(outside.can(ask));
    serve();
    used.reset();
    EXPECT_TRUE(wait_until([&] { return !outside.can(ask); })) << "its VM has stopped";
    web->run({"sh", "-c", "busybox nc -w 5 10.213.77.2 80 | grep -q hello"});
    for (const auto* port : {"p1", "p2"}) test::run_program({"ip", "link", "delete", port});
}

// Who asks then is refused at once, and not after the seconds for which nobody answers ARP.
TEST_F(NatServiceTest, PortsOfTheLastVmGoBeforeTheNetworkDoes) {
    make_service(nullptr, 30s);
    begin();
    const auto mac = *netbridge::MacAddress::parse(web_mac);
    const auto rules = [] { return test::run_program({"nft", "list", "ruleset"}); };
    auto used = use({{mac, *netbridge::parse_publish("0.0.0.0:8080:80")}});
    ASSERT_THAT(rules(), HasSubstr("8080"));
    used.reset();
    EXPECT_TRUE(wait_until([&] { return rules().find("8080") == std::string::npos; }, 10s));
    EXPECT_THAT(left(), Contains("noxbr0"));
}

TEST_F(NatServiceTest, TheHostIsNoRouterForItsNeighbours) {
    const test::OtherHost outside("up0");
    const test::OtherHost inside("up1");
    test::run_program({"ip", "address", "add", "192.0.2.1/24", "dev", "up0"});
    test::run_program({"ip", "address", "add", "198.51.100.1/24", "dev", "up1"});
    outside.run({"ip", "address", "add", "192.0.2.2/24", "dev", "eth0"});
    outside.run({"ip", "route", "add", "default", "via", "192.0.2.1"});
    inside.run({"ip", "address", "add", "198.51.100.2/24", "dev", "eth0"});
    inside.run({"ip", "route", "add", "default", "via", "198.51.100.1"});
    ASSERT_FALSE(outside.can_ping("198.51.100.2"));
    make_service();
    begin();
    auto used = use();
    EXPECT_EQ(service_->status().forwarding, (std::vector<std::string>{"up0", "up1"}));
    EXPECT_FALSE(outside.can_ping("198.51.100.2")) << "as before";
    // Once the administrator wants it, it is none of ours any more.
    test::run_program({"sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"});
    check();
    EXPECT_TRUE(outside.can_ping("198.51.100.2"));
    EXPECT_THAT(service_->status().forwarding, IsEmpty());
    used.reset();
    ASSERT_TRUE(wait_until([&] { return left().empty(); }));
    EXPECT_TRUE(netbridge::forwards("up0"));
}

TEST_F(NatServiceTest, GoesWithItsLastUserAndLeavesNothingSwitchedOn) {
    const test::OtherHost outside("up0");
    test::run_program({"ip", "address", "add", "192.0.2.1/24", "dev", "up0"});
    make_service();
    begin();
    auto first = use();
    auto second = use();
    const auto pid = service_->status().dnsmasq;
    first.reset();
    EXPECT_FALSE(wait_until([&] { return left().empty(); }, 1s));
    EXPECT_EQ(service_->status().dnsmasq, pid);
    EXPECT_TRUE(netbridge::forwards("up0"));
    second.reset();
    EXPECT_TRUE(wait_until([&] { return left().empty(); }));
    EXPECT_FALSE(netbridge::forwards("up0"));
    EXPECT_FALSE(service_->status().up);
}

TEST_F(NatServiceTest, TheNextSupervisorAdoptsDnsmasqOrSweepsIt) {
    make_service();
    begin();
    auto used = use();
    const auto pid = service_->status().dnsmasq;
    lose_service();
    used.reset();
    EXPECT_EQ(left().size(), 4U) << "networking lives on";

    guests_.push_back({"new", "52:54:00:00:00:03"});
    make_service();
    used = service_->keep({});
    begin();
    EXPECT_EQ(service_->status().dnsmasq, pid);
    const auto guest = plug("p1", "52:54:00:00:00:03");
    EXPECT_THAT(get_address(*guest), StartsWith("10.213.77.4 ")) << "it was told of the new VM";

    // It is found without the record, too.
    lose_service();
    std::filesystem::remove(dir_ / "nat/state.json");
    make_service();
    used = service_->keep({});
    begin();
    EXPECT_EQ(service_->status().dnsmasq, pid);

    lose_service();
    used.reset();
    make_service();
    begin();
    EXPECT_THAT(left(), Not(IsEmpty())) << "the guest's port is there";
    test::run_program({"ip", "link", "delete", "p1"});
    check();
    EXPECT_THAT(left(), IsEmpty());
}

TEST_F(NatServiceTest, ADnsmasqThatDiedIsStartedAgain) {
    make_service();
    begin();
    const auto used = use();
    const auto guest = plug("p1", web_mac);
    const auto told = get_address(*guest);
    for (int i = 0; i < 2; ++i) {
        const auto pid = service_->status().dnsmasq.value();
        ASSERT_EQ(::kill(pid, SIGKILL), 0);
        ASSERT_TRUE(wait_until([&] {
            const auto now = service_->status().dnsmasq;
            return now && *now != pid;
        }));
        EXPECT_EQ(get_address(*guest), told);
    }
    test::run_program({"ip", "link", "delete", "p1"});
}

TEST_F(NatServiceTest, AFlushedRulesetAndADeletedVmAreNoticed) {
    make_service();
    begin();
    const auto used = use();
    test::run_program({"nft", "flush", "ruleset"});
    guests_ = {{"renamed", web_mac}};
    check();
    EXPECT_THAT(*kernel_->ip_rule_tables(), testing::ElementsAre("noxsup_nat"));
    const auto guest = plug("p1", web_mac);
    EXPECT_THAT(get_address(*guest), StartsWith("10.213.77.2 "));
    EXPECT_THAT(guest->run({"busybox", "nslookup", "-type=a", "renamed", "10.213.77.1"}),
                HasSubstr("10.213.77.2"));
    EXPECT_FALSE(guest->can({"busybox", "nslookup", "-type=a", "web.vm.internal", "10.213.77.1"}));
    test::run_program({"ip", "link", "delete", "p1"});
}

TEST_F(NatServiceTest, AnAddressLeasedToADeletedVmIsTheNextOnes) {
    // All but one address are others', so there is no other to give.
    for (int i = 0; guests_.size() < 198; ++i) {
        const netbridge::MacAddress mac({0x52, 0x54, 0, 1, 0, static_cast<std::uint8_t>(i)});
        guests_.push_back({"vm" + std::to_string(i), mac.to_string()});
    }
    make_service();
    begin();
    const auto used = use();
    const auto deleted = plug("p1", web_mac);
    const auto told = get_address(*deleted);
    EXPECT_THAT(told, StartsWith("10.213.77.2 "));
    test::run_program({"ip", "link", "delete", "p1"});
    const std::string next_mac = "52:54:00:00:00:09";
    guests_.front() = {"next", next_mac};
    check();
    const auto next = plug("p2", next_mac);
    EXPECT_EQ(get_address(*next), told);
    test::run_program({"ip", "link", "delete", "p2"});
}

TEST_F(NatServiceTest, OtherNamesAreAskedForAtTheHostsResolver) {
    const test::OtherHost outside("up0");
    test::run_program({"ip", "address", "add", "192.0.2.1/24", "dev", "up0"});
    outside.run({"ip", "address", "add", "192.0.2.2/24", "dev", "eth0"});
    const auto pid_file = dir_ / "resolver.pid";
    outside.run({"dnsmasq", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
                 "--address=/example.test/192.0.2.9", "--pid-file=" + pid_file.string()});
    const auto resolver = static_cast<pid_t>(std::stol(test::slurp(pid_file)));
    // The fixture's mounts are its own.
    const auto conf = dir_.write("resolv.conf", "nameserver 192.0.2.2\n");
    std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
    std::filesystem::permissions(conf, std::filesystem::perms(0644));
    test::run_program({"mount", "--bind", conf.string(), "/etc/resolv.conf"});
    make_service();
    begin();
    const auto used = use();
    const auto guest = plug("p1", web_mac);
    get_address(*guest);
    EXPECT_THAT(guest->run({"busybox", "nslookup", "-type=a", "www.example.test", "10.213.77.1"}),
                HasSubstr("192.0.2.9"));
    test::run_program({"ip", "link", "delete", "p1"});
    test::run_program({"umount", "/etc/resolv.conf"});
    EXPECT_EQ(::kill(resolver, SIGTERM), 0);
}

TEST_F(NatServiceTest, MovesAwayFromANetworkThatTheHostHasComeTo) {
    make_service();
    begin();
    auto used = use();
    EXPECT_EQ(service_->status().subnet, "10.213.77.0/24");
    used.reset();
    ASSERT_TRUE(wait_until([&] { return left().empty(); }));
    const test::OtherHost outside("up0");
    test::run_program({"ip", "address", "add", "10.213.77.9/16", "dev", "up0"});
    used = use();
    EXPECT_EQ(service_->status().subnet, "10.141.77.0/24");
    const auto guest = plug("p1", web_mac);
    EXPECT_THAT(get_address(*guest), StartsWith("10.141.77.2 "));
    // It stays there, although the first one is free again.
    test::run_program({"ip", "link", "delete", "p1"});
    used.reset();
    ASSERT_TRUE(wait_until([&] { return left().empty(); }));
    test::run_program({"ip", "address", "flush", "dev", "up0"});
    used = use();
    EXPECT_EQ(service_->status().subnet, "10.141.77.0/24");
}

TEST_F(NatServiceTest, TellsAFirewallThatDropsAndItsFix) {
    test::run_program({"nft",
                       "add table ip filter; add chain ip filter FORWARD { type filter hook "
                       "forward priority filter; policy drop; }"});
    make_service();
    begin();
    auto used = use();
    ASSERT_EQ(service_->notes().size(), 1U);
    EXPECT_THAT(service_->notes()[0], HasSubstr("table ip filter, chain FORWARD"));
    test::run_program({"nft", "add rule ip filter FORWARD iifname noxbr0 accept"});
    used = use();
    EXPECT_THAT(service_->notes(), IsEmpty()) << "it is arranged for";
    test::run_program({"nft", "delete table ip filter"});
}

TEST_F(NatServiceTest, AFailureAtAnyStepLeavesNothing) {
    // Of the kernel nothing is real here, so dnsmasq finds no device and fails as the last step.
    test::TempDir proc;
    views_.proc = proc.path();
    std::size_t steps = 0;
    for (std::size_t step = 0; step == 0 || step <= steps; ++step) {
        proc.write("sys/net/ipv4/conf/noxbr0/forwarding", "0\n");
        proc.write("sys/net/ipv4/conf/eth0/forwarding", "0\n");
        test::FakeKernelNetwork fake;
        netbridge::Link card;
        card.name = "eth0";
        fake.host_routes = {{{netbridge::Ipv4Address(), 0}, fake.add_link(card)}};
        make_service(&fake);
        fake.fail_at(step);
        auto used = test::run_async(context_, service_->use({}));
        ASSERT_FALSE(used);
        if (step == 0) {
            EXPECT_THAT(used.error().message, HasSubstr("dnsmasq did not start"));
            EXPECT_THAT(used.error().message, HasSubstr("noxbr0")) << "in its own words";
            const auto rules = std::ranges::find(fake.log(), "filter noxsup_nat");
            steps = static_cast<std::size_t>(rules - fake.log().begin()) + 1;
            ASSERT_GT(steps, 10U);
            ASSERT_LT(steps, fake.calls());
        }
        EXPECT_THAT(fake.ip_rules, IsEmpty()) << step;
        EXPECT_EQ(fake.link_count(), 1U) << step;
        EXPECT_EQ(test::slurp(proc / "sys/net/ipv4/conf/eth0/forwarding"), "0\n") << step;
        EXPECT_THAT(left(), IsEmpty()) << step;
        lose_service();
    }
    views_ = {};
}

}  // namespace
}  // namespace noxsup::daemon
