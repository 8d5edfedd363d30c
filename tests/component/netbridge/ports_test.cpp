#include "netbridge/ports.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio.hpp>
#include <set>

#include "supervisor/base/command.hpp"
#include "tests/support/net_namespace.hpp"
#include "tests/support/run_async.hpp"

namespace noxsup::netbridge {
namespace {

using testing::HasSubstr;

namespace ip = boost::asio::ip;

class PortsTest : public testing::Test {
  protected:
    void SetUp() override {
        if (!namespace_.problem().empty()) GTEST_SKIP() << namespace_.problem();
    }
    static PublishSpec spec(std::uint16_t port, const char* rest = ":80") {
        return *parse_publish(std::to_string(port) + rest);
    }
    /// Runs a QEMU without a machine that forwards the port; its words on success.
    Result<std::string> forward_by_qemu(std::uint16_t port) {
        Command command;
        command.argv = {
            "qemu-system-x86_64",
            "-M",
            "none",
            "-nodefaults",
            "-display",
            "none",
            "-monitor",
            "stdio",
            "-netdev",
            "user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:" + std::to_string(port) + "-:22"};
        command.input = "info usernet\nquit\n";
        ProcessRunner runner;
        return test::run_async(context_, run_checked(runner, std::move(command)));
    }
    test::NetNamespace namespace_;
    boost::asio::io_context context_;
};

TEST_F(PortsTest, AReservedPortIsNobodyElses) {
    const auto one = reserve_loopback_port();
    const auto two = reserve_loopback_port();
    ASSERT_TRUE(one && two);
    EXPECT_NE(one->port(), two->port());
    EXPECT_GE(one->port(), 1024);
    EXPECT_TRUE(one->address().is_loopback());
    ip::tcp::acceptor other(context_);
    other.open(ip::tcp::v4());
    boost::system::error_code failure;
    other.bind({ip::address_v4::loopback(), one->port()}, failure);
    EXPECT_EQ(failure, boost::asio::error::address_in_use);
    ip::tcp::socket client(context_);
    client.connect({ip::address_v4::loopback(), one->port()}, failure);
    EXPECT_EQ(failure, boost::asio::error::connection_refused);
}

TEST_F(PortsTest, ThousandReservationsAllDiffer) {
    std::vector<PortReservation> held;
    std::set<std::uint16_t> ports;
    for (int i = 0; i < 1000; ++i) {
        auto reserved = reserve_loopback_port();
        ASSERT_TRUE(reserved) << reserved.error().message;
        ports.insert(reserved->port());
        held.push_back(std::move(*reserved));
    }
    EXPECT_EQ(ports.size(), 1000U);
}

TEST_F(PortsTest, QemuListensOnThePortWhileItIsReserved) {
    const auto reserved = reserve_loopback_port();
    ASSERT_TRUE(reserved);
    const auto said = forward_by_qemu(reserved->port());
    ASSERT_TRUE(said) << said.error().message;
    EXPECT_THAT(*said, HasSubstr("HOST_FORWARD"));
    EXPECT_THAT(*said, HasSubstr(std::to_string(reserved->port())));
}

TEST_F(PortsTest, QemuListensOnAPublishedPortWhileItIsReserved) {
    const auto reserved = reserve_port(spec(8080));
    ASSERT_TRUE(reserved);
    const auto said = forward_by_qemu(8080);
    ASSERT_TRUE(said) << said.error().message;
    EXPECT_THAT(*said, HasSubstr("8080"));
}

TEST_F(PortsTest, ATakenPortIsNamedWithItsHolder) {
    ip::tcp::acceptor listener(context_, {ip::address_v4::loopback(), 8080});
    const auto reserved = reserve_port(spec(8080));
    ASSERT_FALSE(reserved);
    EXPECT_EQ(reserved.error().code, ErrorCode::port_taken);
    EXPECT_THAT(reserved.error().message, HasSubstr("tcp port 127.0.0.1:8080 is in use by "));
    EXPECT_THAT(reserved.error().message, HasSubstr("(pid " + std::to_string(::getpid()) + ")"));
    EXPECT_THAT(reserved.error().hint, HasSubstr(":80"));
    EXPECT_TRUE(reserve_port(spec(8081)));
    EXPECT_TRUE(reserve_port(spec(8080, ":80/udp")));
    listener.close();
    EXPECT_TRUE(reserve_port(spec(8080)));
}

TEST_F(PortsTest, AListenerOnEveryAddressTakesThePortToo) {
    const ip::tcp::acceptor listener(context_, {ip::tcp::v6(), 8080});
    const auto reserved = reserve_port(spec(8080));
    ASSERT_FALSE(reserved);
    EXPECT_THAT(reserved.error().message, HasSubstr("(pid "));
}

TEST_F(PortsTest, LingeringConnectionsOfAFormerVmAreNoObstacle) {
    {
        ip::tcp::acceptor listener(context_, {ip::address_v4::loopback(), 8080});
        ip::tcp::socket client(context_);
        client.connect({ip::address_v4::loopback(), 8080});
        auto served = listener.accept();
        // The side that closes first keeps TIME_WAIT.
        served.close();
        boost::system::error_code end;
        std::array<char, 1> byte{};
        client.read_some(boost::asio::buffer(byte), end);
        EXPECT_EQ(end, boost::asio::error::eof);
    }
    const auto reserved = reserve_port(spec(8080));
    EXPECT_TRUE(reserved) << reserved.error().message;
}

TEST_F(PortsTest, UdpPortsAreCheckedButNotHeld) {
    {
        const ip::udp::socket holder(context_, {ip::address_v4::loopback(), 5353});
        const auto taken = reserve_port(spec(5353, ":53/udp"));
        ASSERT_FALSE(taken);
        EXPECT_EQ(taken.error().code, ErrorCode::port_taken);
        EXPECT_THAT(taken.error().message, HasSubstr("udp port 127.0.0.1:5353 is in use by "));
    }
    const auto reserved = reserve_port(spec(5353, ":53/udp"));
    ASSERT_TRUE(reserved);
    EXPECT_EQ(reserved->port(), 5353);
    EXPECT_NO_THROW(ip::udp::socket(context_, {ip::address_v4::loopback(), 5353}));
}

TEST_F(PortsTest, AForeignAddressAndAPrivilegedPortAreTold) {
    const auto foreign = reserve_port(*parse_publish("192.0.2.1:8080:80"));
    EXPECT_EQ(foreign.error().code, ErrorCode::invalid_argument);
    EXPECT_THAT(foreign.error().message, HasSubstr("192.0.2.1 is not an address of this host"));
    EXPECT_TRUE(reserve_port(spec(80)));
    const test::WithoutCapability less(CAP_NET_BIND_SERVICE);
    const auto privileged = reserve_port(spec(80));
    EXPECT_EQ(privileged.error().code, ErrorCode::host_lacks_right);
    EXPECT_THAT(privileged.error().hint, HasSubstr("1024"));
}

TEST_F(PortsTest, APortThatIsListenedOnIsHeldAndItsErrorsAreTheSame) {
    {
        const auto tcp = listen_on_port(spec(8080));
        const auto udp = listen_on_port(spec(8080, ":80/udp"));
        ASSERT_TRUE(tcp && udp);
        EXPECT_NE(::fcntl(tcp->get(), F_GETFL) & O_NONBLOCK, 0);
        EXPECT_NE(::fcntl(udp->get(), F_GETFD) & FD_CLOEXEC, 0);
        ip::tcp::socket client(context_);
        EXPECT_NO_THROW(client.connect({ip::address_v4::loopback(), 8080}));
        EXPECT_EQ(listen_on_port(spec(8080)).error().code, ErrorCode::port_taken);
        const auto taken = listen_on_port(spec(8080, ":80/udp"));
        EXPECT_THAT(taken.error().message, HasSubstr("udp port 127.0.0.1:8080 is in use by "));
    }
    const auto reserved = reserve_port(spec(8080));
    ASSERT_TRUE(reserved);
    EXPECT_TRUE(listen_on_port(spec(8080))) << "a reservation is of somebody who listens later";
    const test::WithoutCapability less(CAP_NET_BIND_SERVICE);
    EXPECT_EQ(listen_on_port(spec(80)).error().code, ErrorCode::host_lacks_right);
}

TEST_F(PortsTest, AnAddressOfTheHostIsTold) {
    test::run_program({"ip", "address", "add", "fd00::7/64", "dev", "lo"});
    test::run_program({"ip", "address", "add", "192.0.2.7/24", "dev", "lo"});
    for (const auto* own : {"127.0.0.1", "::1", "fd00::7", "192.0.2.7"})
        EXPECT_TRUE(is_own_address(*parse_ip(own))) << own;
    for (const auto* other : {"127.0.0.2", "192.0.2.8", "fd00::8"})
        EXPECT_FALSE(is_own_address(*parse_ip(other))) << other;
}

TEST_F(PortsTest, NoHolderIsToldForAFreePort) {
    EXPECT_FALSE(find_port_holder(spec(8080)));
}

}  // namespace
}  // namespace noxsup::netbridge
