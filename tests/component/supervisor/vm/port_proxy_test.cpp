#include "supervisor/vm/port_proxy.hpp"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <random>

#include "tests/component/supervisor/vm/proxy_fixture.hpp"
#include "tests/support/memory.hpp"

namespace noxsup::vm {
namespace {

using testing::HasSubstr;

constexpr std::uint16_t host_port = 8080;
constexpr std::uint16_t guest_port = 80;
constexpr std::size_t mebibyte = std::size_t{1} << 20;

class TcpProxyTest : public ProxyTest {
  protected:
    static Peer client() { return Peer::connect("127.0.0.1", host_port, SOCK_STREAM); }
    static Peer guest(const std::string& address = guest_address) {
        return Peer::bind(address, guest_port, SOCK_STREAM);
    }
};

TEST_F(TcpProxyTest, CarriesBothWaysAtOnceInPiecesOfAnySize) {
    publish();
    const auto listener = guest();
    const auto near = client();
    const auto far = listener.accept();
    const auto asked = pattern(8 * mebibyte, 1);
    const auto answered = pattern(8 * mebibyte, 2);
    const auto send_all = [](const Peer& peer, const std::string& data, unsigned seed) {
        std::mt19937 random(seed);
        for (std::size_t at = 0; at < data.size();) {
            const auto piece = std::min<std::size_t>(1 + random() % 70'000, data.size() - at);
            peer.send(std::string_view(data).substr(at, piece));
            at += piece;
        }
        peer.end_sending();
    };
    std::thread one(send_all, std::cref(near), std::cref(asked), 3);
    std::thread two(send_all, std::cref(far), std::cref(answered), 4);
    std::string heard;
    std::thread three([&] { heard = far.receive_all(); });
    const auto got = near.receive_all();
    for (auto* thread : {&one, &two, &three}) thread->join();
    EXPECT_TRUE(heard == asked) << heard.size();
    EXPECT_TRUE(got == answered) << got.size();
    EXPECT_TRUE(wait_for([&] { return users() == 0; }));
}

TEST_F(TcpProxyTest, EachHalfEndsByItself) {
    publish();
    const auto listener = guest();
    const auto near = client();
    const auto far = listener.accept();
    near.send("question");
    near.end_sending();
    EXPECT_EQ(far.receive_all(), "question");
    far.send("first ");
    EXPECT_EQ(near.receive(), "first ");
    far.send("last");
    far.end_sending();
    EXPECT_EQ(near.receive_all(), "last");

    const auto other = client();
    const auto server = listener.accept();
    server.send("banner");
    server.end_sending();
    EXPECT_EQ(other.receive_all(), "banner");
    other.send("thanks");
    other.end_sending();
    EXPECT_EQ(server.receive_all(), "thanks");
}

TEST_F(TcpProxyTest, AResetIsPassedOnAsAReset) {
    publish();
    const auto listener = guest();
    auto near = client();
    auto far = listener.accept();
    far.send("x");
    EXPECT_EQ(near.receive(), "x");
    near.reset();
    EXPECT_THROW(far.receive(), std::system_error);
    auto other = client();
    auto server = listener.accept();
    server.reset();
    EXPECT_THROW(other.receive(), std::system_error);
    EXPECT_TRUE(wait_for([&] { return users() == 0; }));
}

TEST_F(TcpProxyTest, WithoutAGuestTheConnectionEndsAtOnce) {
    publish();
    EXPECT_TRUE(client().is_hung_up()) << "nobody listens there";
    move_guest(std::nullopt);
    EXPECT_TRUE(client().is_hung_up()) << "it has no address yet";
    move_guest(guest_address);
    const auto listener = guest();
    const auto near = client();
    listener.accept().send("here");
    EXPECT_EQ(near.receive(), "here");
}

TEST_F(TcpProxyTest, AnAddressOfTheHostItselfIsNoGuests) {
    publish();
    const auto service = Peer::bind("127.0.0.1", guest_port, SOCK_STREAM);
    move_guest("127.0.0.1");
    EXPECT_TRUE(client().is_hung_up());
}

TEST_F(TcpProxyTest, ANewConnectionGoesToTheNewAddress) {
    publish();
    const auto before = guest("127.0.0.2");
    const auto after = guest("127.0.0.3");
    const auto old = client();
    const auto served = before.accept();
    move_guest("127.0.0.3");
    const auto fresh = client();
    after.accept().send("three");
    EXPECT_EQ(fresh.receive(), "three");
    served.send("two");
    EXPECT_EQ(old.receive(), "two") << "what is open stays";
}

TEST_F(TcpProxyTest, TwoHundredConnectionsLeaveNoDescriptor) {
    publish();
    const auto listener = guest();
    const auto before = open_descriptors();
    std::vector<Peer> near;
    std::vector<Peer> far;
    for (int i = 0; i < 200; ++i) {
        near.push_back(client());
        far.push_back(listener.accept());
    }
    EXPECT_TRUE(wait_for([&] { return users() == 200; }));
    for (std::size_t i = 0; i < near.size(); ++i) {
        near[i].send("y");
        switch (i % 4) {
            case 0:
                near[i].reset();
                break;
            case 1:
                far[i].reset();
                break;
            case 2:
                near[i].end_sending();
                break;
            default:
                far[i].end_sending();
        }
    }
    near.clear();
    far.clear();
    EXPECT_TRUE(wait_for([&] { return users() == 0; }));
    EXPECT_TRUE(wait_for([&] { return open_descriptors() == before; })) << open_descriptors();
}

TEST_F(TcpProxyTest, AReaderThatStandsStillStopsItsWriter) {
    publish();
    const auto listener = guest();
    const auto near = client();
    const auto far = listener.accept();
    const auto piece = pattern(mebibyte, 5);
    const auto before = test::heap_bytes();
    std::string sent;
    constexpr std::size_t most = 64;
    sent.reserve(most * mebibyte);
    const auto reserved = test::heap_bytes() - before;
    // What the sockets on the way hold is the kernel's, and bounded by it.
    const timeval patience{1, 0};
    ::setsockopt(near.fd(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    for (;;) {
        const auto put = ::send(near.fd(), piece.data(), piece.size(), MSG_NOSIGNAL);
        if (put <= 0) break;
        sent.append(piece, 0, static_cast<std::size_t>(put));
        ASSERT_LT(sent.size(), (most - 1) * mebibyte) << "it is taken without end";
    }
    EXPECT_LT(test::heap_bytes(), before + reserved + mebibyte / 2);
    near.end_sending();
    EXPECT_TRUE(far.receive_all() == sent) << "all of it comes once it is read";
}

TEST_F(TcpProxyTest, AClientThatResetsWhileTheGuestStandsStillIsNotKept) {
    publish();
    const auto listener = guest();
    auto near = client();
    const auto far = listener.accept();
    const timeval patience{0, 300'000};
    ::setsockopt(near.fd(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    const auto piece = pattern(mebibyte, 6);
    while (::send(near.fd(), piece.data(), piece.size(), MSG_NOSIGNAL) > 0) continue;
    EXPECT_EQ(users(), 1U);
    near.reset();
    EXPECT_TRUE(wait_for([&] { return users() == 0; }));
}

TEST_F(TcpProxyTest, BeyondTheLimitAConnectionWaitsForItsTurn) {
    ProxyLimits limits;
    limits.connections = 2;
    publish(limits);
    const auto listener = guest();
    auto first = client();
    const auto second = client();
    const auto third = client();
    const auto one = listener.accept();
    const auto two = listener.accept();
    third.send("later");
    EXPECT_EQ(users(), 2U);
    first.reset();
    const auto three = listener.accept();
    EXPECT_EQ(three.receive(), "later");
    EXPECT_TRUE(wait_for([&] { return users() == 2; }));
}

TEST_F(TcpProxyTest, TheSupervisorKeepsDescriptorsForItself) {
    publish();
    const auto listener = guest();
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    auto low = before;
    // Two connections, of three descriptors each, fit into three quarters of it.
    low.rlim_cur = 4 * ((open_descriptors() + 6 + 2) / 3);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
    std::vector<Peer> near;
    for (int i = 0; i < 4; ++i) near.push_back(client());
    EXPECT_TRUE(wait_for([&] { return near.back().is_hung_up(); }));
    const auto still_free = UniqueFd(::dup(0));
    EXPECT_TRUE(still_free);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    for (auto& peer : near) peer.reset();
    EXPECT_TRUE(wait_for([&] { return users() == 0; }));
    const auto again = client();
    EXPECT_TRUE(wait_for([&] { return users() == 1; }));
}

TEST_F(TcpProxyTest, ItsEndIsThatOfEveryConnection) {
    publish();
    const auto listener = guest();
    const auto near = client();
    const auto far = listener.accept();
    on_loop([this] { proxy_.reset(); });
    EXPECT_TRUE(near.is_hung_up());
    EXPECT_TRUE(far.is_hung_up());
    EXPECT_THROW(client(), std::system_error) << "nobody listens any more";
    publish();
}

TEST_F(TcpProxyTest, ATakenPortIsNamedWithItsHolderAndALowOneIsServed) {
    const auto holder = Peer::bind("127.0.0.1", host_port, SOCK_STREAM);
    const auto spec = *netbridge::parse_publish("8080:80");
    const auto error = on_loop([&] {
        return PortProxy::open(context_.get_executor(), spec, [this] { return address_; }).error();
    });
    EXPECT_EQ(error.code, ErrorCode::port_taken);
    EXPECT_THAT(error.message, HasSubstr("tcp port 127.0.0.1:8080 is in use by "));
    publish({}, "0.0.0.0:443:80");
    const auto listener = guest();
    const auto near = Peer::connect("127.0.0.9", 443, SOCK_STREAM);
    listener.accept().send("low");
    EXPECT_EQ(near.receive(), "low");
}

class UdpProxyTest : public ProxyTest {
  protected:
    static Peer client(const std::string& address = "127.0.0.1") {
        return Peer::connect(address, host_port, SOCK_DGRAM);
    }
    /// The guest answers the next datagram with its words and the number of its sender.
    static std::string answer_one(const Peer& guest) {
        sockaddr_storage from{};
        socklen_t length = sizeof(from);
        std::string data(1 << 16, '\0');
        const auto got = ::recvfrom(guest.fd(), data.data(), data.size(), 0,
                                    reinterpret_cast<sockaddr*>(&from), &length);
        if (got < 0) throw std::runtime_error("the guest heard nothing");
        data.resize(static_cast<std::size_t>(got));
        ::sendto(guest.fd(), data.data(), data.size(), 0, reinterpret_cast<sockaddr*>(&from),
                 length);
        return data;
    }
    static Peer guest(const std::string& address = guest_address) {
        return Peer::bind(address, guest_port, SOCK_DGRAM);
    }
};

TEST_F(UdpProxyTest, EachClientGetsItsOwnAnswers) {
    publish({}, "8080:80/udp");
    const auto server = guest();
    std::vector<Peer> clients;
    for (int i = 0; i < 20; ++i) clients.push_back(client());
    for (std::size_t i = 0; i < clients.size(); ++i) clients[i].send("client " + std::to_string(i));
    for (std::size_t i = 0; i < clients.size(); ++i) answer_one(server);
    for (std::size_t i = 0; i < clients.size(); ++i)
        EXPECT_EQ(clients[i].receive(), "client " + std::to_string(i));
    EXPECT_EQ(users(), 20U);
    const auto largest = pattern(65'507, 7);
    clients.front().send(largest);
    EXPECT_TRUE(answer_one(server) == largest);
    EXPECT_TRUE(clients.front().receive() == largest);
}

TEST_F(UdpProxyTest, TheAnswerComesFromTheAddressThatWasAsked) {
    publish({}, "0.0.0.0:8080:80/udp");
    const auto server = guest();
    // A connected socket hears its peer alone.
    for (const auto* address : {"127.0.0.1", "127.0.0.77"}) {
        const auto near = client(address);
        near.send(address);
        answer_one(server);
        EXPECT_EQ(near.receive(), address);
    }
}

TEST_F(UdpProxyTest, ASilentClientIsForgotten) {
    ProxyLimits limits;
    limits.udp_idle = std::chrono::milliseconds(50);
    publish(limits, "8080:80/udp");
    const auto server = guest();
    const auto before = open_descriptors();
    const auto near = client();
    near.send("once");
    answer_one(server);
    EXPECT_EQ(near.receive(), "once");
    EXPECT_TRUE(wait_for([&] { return users() == 0; }));
    EXPECT_TRUE(wait_for([&] { return open_descriptors() == before + 1; }));
    near.send("again");
    answer_one(server);
    EXPECT_EQ(near.receive(), "again");
}

TEST_F(UdpProxyTest, TheOneSilentLongestMakesRoom) {
    ProxyLimits limits;
    limits.clients = 2;
    publish(limits, "8080:80/udp");
    const auto server = guest();
    std::vector<Peer> clients;
    for (int i = 0; i < 5; ++i) {
        clients.push_back(client());
        clients.back().send("hello");
        answer_one(server);
        EXPECT_EQ(clients.back().receive(), "hello");
        EXPECT_LE(users(), 2U);
    }
    clients.front().send("back");
    EXPECT_EQ(answer_one(server), "back");
    EXPECT_EQ(clients.front().receive(), "back");
}

TEST_F(UdpProxyTest, FollowsTheGuestAndOutlivesARefusedPort) {
    publish({}, "8080:80/udp");
    const auto near = client();
    near.send("to nobody");
    EXPECT_TRUE(wait_for([&] { return users() == 1; }));
    {
        const auto server = guest("127.0.0.2");
        EXPECT_TRUE(wait_for([&] {
            near.send("to two");
            char byte = 0;
            return ::recv(server.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
        }));
    }
    const auto server = guest("127.0.0.3");
    move_guest("127.0.0.3");
    near.send("to three");
    // What two was still to get may come first.
    EXPECT_TRUE(wait_for([&] { return answer_one(server) == "to three"; }));
    EXPECT_TRUE(wait_for([&] { return near.receive() == "to three"; }));
    EXPECT_EQ(users(), 1U);
    move_guest(std::nullopt);
    near.send("to none");
    EXPECT_TRUE(wait_for([&] { return users() == 0; }));
}

}  // namespace
}  // namespace noxsup::vm
