// The address of a guest that gets it from a real DHCP server, and how long after the ACK it is
// known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <iostream>
#include <thread>

#include "netbridge/address_watcher.hpp"
#include "netbridge/dhcp_probe.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/process.hpp"
#include "tests/component/netbridge/bridge_fixture.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::netbridge {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// The message type (option 53) of an answer to this client; 0 for other frames.
int answer_type(const test::Bytes& frame, const MacAddress& client) {
    constexpr std::size_t options = 14 + 20 + 8 + 236 + 4;
    constexpr std::size_t chaddr = 14 + 20 + 8 + 28;
    if (frame.size() < options + 3 || frame[12] != 8 || frame[13] != 0 || frame[37] != 68) return 0;
    if (!std::equal(client.bytes().begin(), client.bytes().end(), frame.begin() + chaddr)) return 0;
    // dnsmasq sends the type first.
    return frame[options] == 53 ? frame[options + 2] : 0;
}

/// A guest's DHCP client: discover, request, and when the ACK came.
class DhcpClient {
  public:
    explicit DhcpClient(const GuestStub& guest) : guest_(guest) {}

    /// True once it was told an address.
    bool run() {
        const auto offer = ask(1, {}, 2);
        if (offer.empty()) return false;
        const test::Bytes address(offer.begin() + 58, offer.begin() + 62);
        auto wanted = test::dhcp_option(50, address);
        const auto server = test::dhcp_option(54, test::address_bytes("192.168.77.1"));
        wanted.insert(wanted.end(), server.begin(), server.end());
        return !ask(3, wanted, 5).empty();
    }
    [[nodiscard]] Clock::time_point ack_at() const { return ack_at_; }

  private:
    test::Bytes ask(std::uint8_t type, const test::Bytes& more, int answer) {
        test::DhcpFrame request;
        request.source = guest_.mac();
        request.client = guest_.mac();
        request.from_server = false;
        request.options = test::dhcp_option(53, {type});
        request.options.insert(request.options.end(), more.begin(), more.end());
        const auto list = test::dhcp_option(55, {1, 3, 51});
        request.options.insert(request.options.end(), list.begin(), list.end());
        for (int attempt = 0; attempt < 10; ++attempt) {
            guest_.send(request.build());
            for (const auto end = Clock::now() + 1s; Clock::now() < end;) {
                const auto frame = guest_.receive(100ms);
                if (!frame || answer_type(*frame, guest_.mac()) != answer) continue;
                ack_at_ = Clock::now();
                return *frame;
            }
        }
        return {};
    }
    const GuestStub& guest_;
    Clock::time_point ack_at_;
};

class DnsmasqTest : public BridgeTest {
  protected:
    void SetUp() override {
        BridgeTest::SetUp();
        if (IsSkipped()) return;
        const auto program = find_program("dnsmasq");
        if (!program) GTEST_SKIP() << "dnsmasq is not installed (package dnsmasq-base)";
        SpawnSpec spec;
        spec.argv = {*program,
                     "--keep-in-foreground",
                     "--conf-file=/dev/null",
                     "--port=0",
                     "--interface=br0",
                     "--bind-interfaces",
                     "--no-ping",
                     "--leasefile-ro",
                     "--user=root",
                     "--group=root",
                     "--pid-file=",
                     "--dhcp-range=192.168.77.100,192.168.77.150,255.255.255.0,2h",
                     "--dhcp-authoritative",
                     "--log-facility=" + (dir_ / "log").string()};
        spec.environment = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8"};
        auto child = spawn(context_.get_executor(), spec);
        ASSERT_TRUE(child) << child.error().message;
        server_ = std::move(child->pidfd);
        // It writes this line when it serves. In a user namespace it may not drop its groups, and
        // ends.
        const auto serves = [&] {
            const auto log = read_file(dir_ / "log", std::size_t{1} << 20U);
            return log && log->find("sockets bound exclusively") != std::string::npos;
        };
        for (int i = 0; i < 1000 && !serves() && !process_ended(server_.get()); ++i) {
            std::this_thread::sleep_for(10ms);
        }
        if (process_ended(server_.get())) {
            const auto log = read_file(dir_ / "log", std::size_t{1} << 20U);
            GTEST_SKIP() << "dnsmasq does not run here: " << (log ? *log : "no word from it");
        }
        ASSERT_TRUE(serves());
    }
    void TearDown() override {
        if (!server_) return;
        (void)send_signal(server_.get(), SIGKILL);
        for (int i = 0; i < 500 && !process_ended(server_.get()); ++i)
            std::this_thread::sleep_for(10ms);
        EXPECT_TRUE(reap(server_.get()));
    }
    test::TempDir dir_;
    boost::asio::io_context context_;
    UniqueFd server_;
};

TEST_F(DnsmasqTest, AnAddressIsKnownWithin100MsOfTheAck) {
    std::vector<double> delays;
    for (std::uint8_t i = 1; i <= 10; ++i) {
        const auto guest = make_guest(i);
        const auto watcher =
            AddressWatcher::open(context_.get_executor(), name(guest.link().name), guest.mac());
        ASSERT_TRUE(watcher) << watcher.error().message;
        DhcpClient client(guest);
        std::atomic<bool> leased = false;
        std::jthread thread([&] { leased = client.run(); });
        const auto seen = test::run_async(context_, (*watcher)->next());
        const auto known_at = Clock::now();
        thread.join();
        ASSERT_TRUE(leased) << test::slurp(dir_ / "log");
        ASSERT_TRUE(seen) << seen.error().message;
        ASSERT_EQ(seen->size(), 1U);
        const auto& address = seen->front();
        EXPECT_EQ(address.source, AddressSource::dhcp);
        EXPECT_TRUE((IpCidr{*parse_ip("192.168.77.1"), 24}.contains(address.address)));
        EXPECT_EQ(address.prefix_length, 24U);
        EXPECT_EQ(address.gateway, *parse_ip("192.168.77.1"));
        EXPECT_EQ(address.lease, 2h);
        delays.push_back(
            std::chrono::duration<double, std::milli>(known_at - client.ack_at()).count());
    }
    std::ranges::sort(delays);
    std::cout << "ACK to address known: median " << delays[delays.size() / 2] << " ms, most "
              << delays.back() << " ms\n";
    EXPECT_LT(delays.back(), 100.0);
}

TEST_F(DnsmasqTest, TheServerOfTheHostItselfIsFound) {
    const auto ports = [this] { return kernel_->links()->size(); };
    const auto before = ports();
    const auto server = test::run_async(context_, find_dhcp_server(*kernel_, name("br0")));
    ASSERT_TRUE(server) << server.error().message;
    EXPECT_EQ(*server, *parse_ip("192.168.77.1"));
    EXPECT_EQ(ports(), before) << "its port has gone again";
}

TEST_F(BridgeTest, ThereNeedNotBeADhcpServer) {
    boost::asio::io_context context;
    const auto server =
        test::run_async(context, find_dhcp_server(*kernel_, name("br0"), {2, 50ms}));
    ASSERT_TRUE(server) << server.error().message;
    EXPECT_EQ(*server, std::nullopt);
    EXPECT_EQ(test::run_async(context, find_dhcp_server(*kernel_, name("br9"))).error().code,
              ErrorCode::host_lacks_bridge);
}

}  // namespace
}  // namespace noxsup::netbridge
