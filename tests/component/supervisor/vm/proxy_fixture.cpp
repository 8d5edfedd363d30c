#include "tests/component/supervisor/vm/proxy_fixture.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <random>
#include <system_error>

#include "netbridge/ip_address.hpp"

namespace noxsup::vm {
namespace {

using namespace std::chrono_literals;

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

sockaddr_in name_of(const std::string& address, std::uint16_t port) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(port);
    name.sin_addr.s_addr = htonl(netbridge::parse_ip(address)->to_v4().to_uint());
    return name;
}

UniqueFd open_socket(int type) {
    UniqueFd fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
    if (!fd) fail("socket");
    return fd;
}

}  // namespace

Peer::Peer(UniqueFd fd) : fd_(std::move(fd)) {
    const timeval limit{20, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

Peer Peer::connect(const std::string& address, std::uint16_t port, int type) {
    Peer peer(open_socket(type));
    const auto name = name_of(address, port);
    if (::connect(peer.fd(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0)
        fail("connect");
    return peer;
}

Peer Peer::bind(const std::string& address, std::uint16_t port, int type) {
    Peer peer(open_socket(type));
    const int on = 1;
    ::setsockopt(peer.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    const auto name = name_of(address, port);
    if (::bind(peer.fd(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0)
        fail("bind");
    if (type == SOCK_STREAM && ::listen(peer.fd(), 512) != 0) fail("listen");
    return peer;
}

Peer Peer::accept() const {
    UniqueFd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd) fail("accept");
    return Peer(std::move(fd));
}

void Peer::send(std::string_view data, std::size_t piece) const {
    while (!data.empty()) {
        const auto put = ::send(fd(), data.data(), std::min(piece, data.size()), MSG_NOSIGNAL);
        if (put < 0) fail("send");
        data.remove_prefix(static_cast<std::size_t>(put));
    }
}

std::string Peer::receive(std::size_t most) const {
    std::string data(most, '\0');
    const auto got = ::recv(fd(), data.data(), data.size(), 0);
    if (got < 0) fail("recv");
    data.resize(static_cast<std::size_t>(got));
    return data;
}

std::string Peer::receive_all() const {
    std::string all;
    for (;;) {
        const auto piece = receive();
        if (piece.empty()) return all;
        all += piece;
    }
}

bool Peer::is_hung_up() const {
    char byte = 0;
    const auto got = ::recv(fd(), &byte, 1, 0);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

void Peer::end_sending() const {
    if (::shutdown(fd(), SHUT_WR) != 0) fail("shutdown");
}

void Peer::reset() {
    const linger now{1, 0};
    ::setsockopt(fd(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    fd_.reset();
}

std::string pattern(std::size_t size, unsigned seed) {
    std::mt19937 random(seed);
    std::string data(size, '\0');
    for (auto& byte : data) byte = static_cast<char>(random());
    return data;
}

std::size_t open_descriptors() {
    const std::filesystem::directory_iterator entries("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

void ProxyTest::SetUp() {
    if (!namespace_.problem().empty()) GTEST_SKIP() << namespace_.problem();
    address_ = *netbridge::parse_ip(guest_address);
    loop_ = std::thread([this] {
        const auto work = boost::asio::make_work_guard(context_);
        context_.run();
    });
}

void ProxyTest::TearDown() {
    if (!loop_.joinable()) return;
    on_loop([this] { proxy_.reset(); });
    context_.stop();
    loop_.join();
    // Whatever the proxy had begun ends with it: nothing is left to wait for.
    context_.restart();
    context_.run_for(20s);
    EXPECT_TRUE(context_.stopped()) << "something of the proxy goes on without it";
}

void ProxyTest::publish(ProxyLimits limits, const std::string& text) {
    const auto spec = netbridge::parse_publish(text);
    ASSERT_TRUE(spec);
    const auto problem = on_loop([&]() -> std::string {
        auto opened = PortProxy::open(
            context_.get_executor(), *spec, [this] { return address_; }, limits);
        if (!opened) return opened.error().message;
        proxy_ = std::move(*opened);
        return {};
    });
    ASSERT_EQ(problem, "");
}

void ProxyTest::move_guest(std::optional<std::string> address) {
    on_loop([&] {
        address_.reset();
        if (address) address_ = *netbridge::parse_ip(*address);
    });
}

bool ProxyTest::wait_for(const std::function<bool()>& goal) {
    for (const auto end = std::chrono::steady_clock::now() + 20s; !goal();) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(2ms);
    }
    return true;
}

}  // namespace noxsup::vm
