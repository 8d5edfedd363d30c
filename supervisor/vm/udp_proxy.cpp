#include "supervisor/vm/udp_proxy.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <cerrno>
#include <cstring>
#include <map>
#include <span>
#include <tuple>
#include <vector>

#include "netbridge/ports.hpp"
#include "supervisor/base/async.hpp"
#include "supervisor/base/scope_exit.hpp"

namespace noxsup::vm {
namespace {

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using Udp = asio::ip::udp;
using Clock = std::chrono::steady_clock;
constexpr auto as_tuple = asio::as_tuple(asio::use_awaitable);

constexpr std::size_t max_datagram = 65'536;
/// How many are passed on in a row before others get their turn.
constexpr int batch = 64;

/// From where to where a client's datagrams come.
struct Path {
    std::uint32_t client = 0;  ///< address and port in network order, as those of the host
    std::uint16_t client_port = 0;
    std::uint32_t host = 0;

    auto operator<=>(const Path&) const = default;
};

/// One datagram with the client's address, and room for struct in_pktinfo as a control message.
struct Message {
    explicit Message(std::span<char> data) : piece{data.data(), data.size()} {
        header.msg_name = &client;
        header.msg_namelen = sizeof(client);
        header.msg_iov = &piece;
        header.msg_iovlen = 1;
        header.msg_control = space.data();
        header.msg_controllen = space.size();
    }
    Message(const Message&) = delete;
    Message& operator=(const Message&) = delete;

    sockaddr_in client{};
    iovec piece;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(in_pktinfo))> space{};
    msghdr header{};
};

/// What waits at the host's port; its size, or nothing.
std::optional<std::size_t> receive(int socket, std::span<char> buffer, Path& path) {
    Message message(buffer);
    const auto got = ::recvmsg(socket, &message.header, MSG_DONTWAIT);
    if (got < 0) return std::nullopt;
    path.client = message.client.sin_addr.s_addr;
    path.client_port = message.client.sin_port;
    for (auto* part = CMSG_FIRSTHDR(&message.header); part != nullptr;
         part = CMSG_NXTHDR(&message.header, part)) {
        if (part->cmsg_level != IPPROTO_IP || part->cmsg_type != IP_PKTINFO) continue;
        in_pktinfo told{};
        std::memcpy(&told, CMSG_DATA(part), sizeof(told));
        path.host = told.ipi_addr.s_addr;
    }
    return static_cast<std::size_t>(got);
}

/// Sends it as the answer on a path. What the kernel does not take is lost, as datagrams are.
void answer(int socket, std::span<char> datagram, const Path& path) {
    Message message(datagram);
    message.client.sin_family = AF_INET;
    message.client.sin_addr.s_addr = path.client;
    message.client.sin_port = path.client_port;
    auto* part = CMSG_FIRSTHDR(&message.header);
    part->cmsg_level = IPPROTO_IP;
    part->cmsg_type = IP_PKTINFO;
    part->cmsg_len = CMSG_LEN(sizeof(in_pktinfo));
    in_pktinfo source{};
    source.ipi_spec_dst.s_addr = path.host;
    std::memcpy(CMSG_DATA(part), &source, sizeof(source));
    (void)::sendmsg(socket, &message.header, MSG_DONTWAIT | MSG_NOSIGNAL);
}

struct Client {
    Path path;
    netbridge::IpAddress guest_address;
    Udp::socket guest;  ///< connected, so that it hears the guest's port alone
    Clock::time_point last{};
};

struct UdpServer : std::enable_shared_from_this<UdpServer> {
    UdpServer(asio::any_io_executor used, UniqueFd socket, std::uint16_t port,
              PortProxy::FindGuest find, ProxyLimits bounds)
        : executor(std::move(used)),
          entry(executor, Udp::v4(), socket.release()),
          guest_port(port),
          find_guest(std::move(find)),
          limits(bounds),
          buffer(max_datagram),
          tasks(executor) {}

    asio::awaitable<void> take_all(std::shared_ptr<UdpServer> self);
    void pass_on(const Path& path, std::size_t size);
    std::shared_ptr<Client> client_of(const Path& path);
    /// Takes a share of its own: that of the map goes.
    void drop(std::shared_ptr<Client> client);
    asio::awaitable<void> serve(std::shared_ptr<UdpServer> self, std::shared_ptr<Client> client);
    asio::awaitable<void> pass_answers(Client& client);
    asio::awaitable<void> wait_idle(Client& client);
    void stop();

    asio::any_io_executor executor;
    Udp::socket entry;
    std::uint16_t guest_port;
    PortProxy::FindGuest find_guest;
    ProxyLimits limits;
    std::vector<char> buffer;  ///< of whichever datagram is passed on
    std::map<Path, std::shared_ptr<Client>> clients;
    TaskGroup tasks;
};

void UdpServer::stop() {
    boost::system::error_code ignored;
    entry.close(ignored);
    find_guest = nullptr;
    tasks.cancel();
}

asio::awaitable<void> UdpServer::take_all(std::shared_ptr<UdpServer> /*self*/) {
    for (;;) {
        const auto [ended] = co_await entry.async_wait(Udp::socket::wait_read, as_tuple);
        if (ended) co_return;
        for (int i = 0; i < batch; ++i) {
            Path path;
            const auto size = receive(entry.native_handle(), buffer, path);
            if (!size) break;
            pass_on(path, *size);
        }
    }
}

void UdpServer::pass_on(const Path& path, std::size_t size) {
    const auto client = client_of(path);
    if (!client) return;
    client->last = Clock::now();
    (void)::send(client->guest.native_handle(), buffer.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/// The client that is known, or a new one; nothing when the guest cannot be reached.
std::shared_ptr<Client> UdpServer::client_of(const Path& path) {
    const auto address = find_guest ? find_guest() : std::nullopt;
    const auto known = clients.find(path);
    if (known != clients.end()) {
        if (address == known->second->guest_address) return known->second;
        drop(known->second);
    }
    if (!address || netbridge::is_own_address(*address)) return nullptr;
    const Udp::endpoint endpoint(*address, guest_port);
    UniqueFd fd(
        ::socket(endpoint.protocol().family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd || is_reserved_descriptor(fd.get()) ||
        ::connect(fd.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0) {
        return nullptr;
    }
    if (clients.size() >= limits.clients) {
        const auto last_heard = [](const auto& candidate) { return candidate.second->last; };
        const auto oldest = std::ranges::min_element(clients, {}, last_heard);
        if (oldest != clients.end()) drop(oldest->second);
    }
    auto client = std::make_shared<Client>(
        Client{path, *address, Udp::socket(executor, endpoint.protocol(), fd.release())});
    client->last = Clock::now();
    clients[path] = client;
    tasks.spawn("client of a published port", serve(shared_from_this(), client));
    return client;
}

void UdpServer::drop(std::shared_ptr<Client> client) {
    boost::system::error_code ignored;
    client->guest.close(ignored);
    const auto found = clients.find(client->path);
    if (found != clients.end() && found->second == client) clients.erase(found);
}

asio::awaitable<void> UdpServer::serve(std::shared_ptr<UdpServer> /*self*/,
                                       std::shared_ptr<Client> client) {
    const ScopeExit leave([this, client] { drop(client); });
    co_await (pass_answers(*client) || wait_idle(*client));
}

asio::awaitable<void> UdpServer::pass_answers(Client& client) {
    while (client.guest.is_open()) {
        const auto [ended] = co_await client.guest.async_wait(Udp::socket::wait_read, as_tuple);
        if (ended || !entry.is_open()) co_return;
        for (int i = 0; i < batch; ++i) {
            const auto got =
                ::recv(client.guest.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
            // A port that nobody listens on is told once a datagram; the next may be heard.
            if (got < 0) break;
            client.last = Clock::now();
            answer(entry.native_handle(), std::span(buffer).first(static_cast<std::size_t>(got)),
                   client.path);
        }
    }
}

asio::awaitable<void> UdpServer::wait_idle(Client& client) {
    for (;;) {
        const auto left = client.last + limits.udp_idle - Clock::now();
        if (left <= SteadyDuration::zero()) co_return;
        const bool slept = co_await sleep_for(left);
        if (!slept) co_return;
    }
}

class UdpProxy final : public PortProxy {
  public:
    explicit UdpProxy(std::shared_ptr<UdpServer> server) : server_(std::move(server)) {
        server_->tasks.spawn("published port", server_->take_all(server_));
    }
    UdpProxy(const UdpProxy&) = delete;
    UdpProxy& operator=(const UdpProxy&) = delete;
    ~UdpProxy() override { server_->stop(); }
    [[nodiscard]] std::size_t users() const override { return server_->clients.size(); }

  private:
    std::shared_ptr<UdpServer> server_;
};

}  // namespace

Result<std::unique_ptr<PortProxy>> serve_udp(const asio::any_io_executor& executor, UniqueFd entry,
                                             std::uint16_t guest_port,
                                             PortProxy::FindGuest find_guest, ProxyLimits limits) {
    const int on = 1;
    if (::setsockopt(entry.get(), IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) != 0) {
        return errno_error("serve a published UDP port", errno);
    }
    auto server = std::make_shared<UdpServer>(executor, std::move(entry), guest_port,
                                              std::move(find_guest), limits);
    return std::unique_ptr<PortProxy>(std::make_unique<UdpProxy>(std::move(server)));
}

}  // namespace noxsup::vm
