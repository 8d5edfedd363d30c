#include "supervisor/vm/port_proxy.hpp"

#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <cerrno>
#include <utility>

#include "netbridge/ports.hpp"
#include "supervisor/base/async.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/scope_exit.hpp"
#include "supervisor/base/sync.hpp"
#include "supervisor/vm/udp_proxy.hpp"

namespace noxsup::vm {
namespace {

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using Tcp = asio::ip::tcp;
constexpr auto as_tuple = asio::as_tuple(asio::use_awaitable);

/// For how long nothing is accepted when the host is out of descriptors or memory.
constexpr std::chrono::milliseconds shortage_pause{100};

/// The two ends of one connection.
struct Pair {
    Tcp::socket client;
    Tcp::socket guest;

    /// Each end learns that the other's data is not whole.
    void reset() {
        for (auto* socket : {&client, &guest}) {
            boost::system::error_code ignored;
            socket->set_option(asio::socket_base::linger(true, 0), ignored);
            socket->close(ignored);
        }
    }
};

/// What a peer that vanished without a word costs ends after a quarter of an hour; a paused guest
/// may be silent that long.
void tune(Tcp::socket& socket) {
    const auto set = [&](int level, int option, int value) {
        (void)::setsockopt(socket.native_handle(), level, option, &value, sizeof(value));
    };
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    set(IPPROTO_TCP, TCP_KEEPIDLE, 300);
    set(IPPROTO_TCP, TCP_KEEPINTVL, 60);
    set(IPPROTO_TCP, TCP_KEEPCNT, 10);
    set(IPPROTO_TCP, TCP_NODELAY, 1);
    boost::system::error_code ignored;
    socket.non_blocking(true, ignored);
}

/// One direction, to its end; a failure ends both.
asio::awaitable<void> pump(Pair& pair, Tcp::socket& from, Tcp::socket& to, std::size_t piece) {
    std::unique_ptr<char[]> buffer;
    for (;;) {
        if (!buffer) buffer = std::make_unique<char[]>(piece);
        boost::system::error_code failure;
        const auto got = from.read_some(asio::buffer(buffer.get(), piece), failure);
        if (failure == asio::error::would_block) {
            // An idle connection costs no buffer.
            buffer.reset();
            const auto [ended] = co_await from.async_wait(Tcp::socket::wait_read, as_tuple);
            if (!ended) continue;
            failure = ended;
        }
        if (failure == asio::error::eof) {
            to.shutdown(Tcp::socket::shutdown_send, failure);
            if (!failure) co_return;
        }
        if (failure) break;
        const auto waiting = asio::buffer(buffer.get(), got);
        const auto [unsent, put] = co_await asio::async_write(to, waiting, as_tuple);
        if (unsent) break;
    }
    pair.reset();
}

/// Notices that a peer has reset the connection, also while nobody reads from it. Completes only
/// when the connection is over.
asio::awaitable<void> watch_for_reset(Pair& pair, Tcp::socket& socket) {
    const auto [ended] = co_await socket.async_wait(Tcp::socket::wait_error, as_tuple);
    if (ended) co_return;
    int failure = 0;
    socklen_t length = sizeof(failure);
    (void)::getsockopt(socket.native_handle(), SOL_SOCKET, SO_ERROR, &failure, &length);
    if (failure != 0) {
        // At once: who reads now finds the error taken, and would see an ordinary end.
        pair.reset();
        co_return;
    }
    // Both halves are closed in the ordinary way: the pumps see to the rest.
    asio::steady_timer never(socket.get_executor(), asio::steady_timer::time_point::max());
    co_await never.async_wait(as_tuple);
}

asio::awaitable<Result<>> connect(Tcp::socket& socket, Tcp::endpoint endpoint) {
    const auto [failure] = co_await socket.async_connect(endpoint, as_tuple);
    if (failure) co_return Error{ErrorCode::io_error, failure.message()};
    co_return Result<>();
}

struct TcpServer : std::enable_shared_from_this<TcpServer> {
    TcpServer(asio::any_io_executor used, UniqueFd listener, std::uint16_t port,
              PortProxy::FindGuest find, ProxyLimits bounds)
        : executor(std::move(used)),
          acceptor(executor, Tcp::v4(), listener.release()),
          guest_port(port),
          find_guest(std::move(find)),
          limits(bounds),
          freed(executor),
          tasks(executor) {}

    asio::awaitable<void> accept_all(std::shared_ptr<TcpServer> /*self*/);
    asio::awaitable<void> serve(std::shared_ptr<TcpServer> self, Tcp::socket client);
    asio::awaitable<bool> reach_guest(Tcp::socket& guest);
    /// False when the host is out of something.
    bool accept_one();
    void stop();

    asio::any_io_executor executor;
    Tcp::acceptor acceptor;
    std::uint16_t guest_port;
    PortProxy::FindGuest find_guest;
    ProxyLimits limits;
    std::size_t connections = 0;
    bool told_full = false;
    Condition freed;
    TaskGroup tasks;
};

void TcpServer::stop() {
    boost::system::error_code ignored;
    acceptor.close(ignored);
    find_guest = nullptr;
    tasks.cancel();
}

asio::awaitable<void> TcpServer::accept_all(std::shared_ptr<TcpServer> /*self*/) {
    while (acceptor.is_open()) {
        if (connections >= limits.connections) {
            if (!std::exchange(told_full, true)) {
                log_warning("a published port has " + std::to_string(connections) +
                            " connections; further ones wait");
            }
            co_await freed.wait();
            const auto state = co_await asio::this_coro::cancellation_state;
            if (state.cancelled() != asio::cancellation_type::none) co_return;
            continue;
        }
        const auto [ended] = co_await acceptor.async_wait(Tcp::acceptor::wait_read, as_tuple);
        if (ended) co_return;
        if (accept_one()) continue;
        const bool slept = co_await sleep_for(shortage_pause);
        if (!slept) co_return;
    }
}

bool TcpServer::accept_one() {
    UniqueFd fd(::accept4(acceptor.native_handle(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd) {
        // All others are of the one connection that was not to be.
        return errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM;
    }
    if (is_reserved_descriptor(fd.get())) return false;
    sockaddr_storage local{};
    socklen_t length = sizeof(local);
    (void)::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&local), &length);
    ++connections;
    Tcp::socket client(executor, local.ss_family == AF_INET ? Tcp::v4() : Tcp::v6(), fd.release());
    tune(client);
    tasks.spawn("connection to a published port", serve(shared_from_this(), std::move(client)));
    return true;
}

asio::awaitable<bool> TcpServer::reach_guest(Tcp::socket& guest) {
    const auto address = find_guest ? find_guest() : std::nullopt;
    if (!address || netbridge::is_own_address(*address)) co_return false;
    const Tcp::endpoint endpoint(*address, guest_port);
    UniqueFd fd(::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd || is_reserved_descriptor(fd.get())) co_return false;
    guest.assign(endpoint.protocol(), fd.release());
    Error late(ErrorCode::timeout, "the guest does not answer");
    auto connecting = connect(guest, endpoint);
    const auto connected =
        co_await with_deadline(std::move(connecting), limits.connect, std::move(late));
    if (!connected) co_return false;
    tune(guest);
    co_return true;
}

asio::awaitable<void> TcpServer::serve(std::shared_ptr<TcpServer> /*self*/, Tcp::socket client) {
    const ScopeExit leave([this] {
        told_full = --connections != 0 && told_full;
        freed.notify_all();
    });
    Pair pair{std::move(client), Tcp::socket(executor)};
    const bool reached = co_await reach_guest(pair.guest);
    if (!reached) {
        pair.reset();
        co_return;
    }
    co_await ((pump(pair, pair.client, pair.guest, limits.buffer_bytes) &&
               pump(pair, pair.guest, pair.client, limits.buffer_bytes)) ||
              watch_for_reset(pair, pair.client) || watch_for_reset(pair, pair.guest));
}

class TcpProxy final : public PortProxy {
  public:
    explicit TcpProxy(std::shared_ptr<TcpServer> server) : server_(std::move(server)) {
        server_->tasks.spawn("published port", server_->accept_all(server_));
    }
    TcpProxy(const TcpProxy&) = delete;
    TcpProxy& operator=(const TcpProxy&) = delete;
    ~TcpProxy() override { server_->stop(); }
    [[nodiscard]] std::size_t users() const override { return server_->connections; }

  private:
    std::shared_ptr<TcpServer> server_;
};

}  // namespace

bool is_reserved_descriptor(int fd) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return false;
    // The lowest free number is given, so it tells how many are in use.
    return static_cast<rlim_t>(fd) >= limit.rlim_cur / 4 * 3;
}

Result<std::unique_ptr<PortProxy>> PortProxy::open(const asio::any_io_executor& executor,
                                                   const netbridge::PublishSpec& spec,
                                                   FindGuest find_guest, ProxyLimits limits) {
    NOXSUP_TRY_VALUE(auto socket, netbridge::listen_on_port(spec));
    if (spec.protocol == netbridge::PortProtocol::udp) {
        return serve_udp(executor, std::move(socket), spec.guest_port, std::move(find_guest),
                         limits);
    }
    auto server = std::make_shared<TcpServer>(executor, std::move(socket), spec.guest_port,
                                              std::move(find_guest), limits);
    return std::unique_ptr<PortProxy>(std::make_unique<TcpProxy>(std::move(server)));
}

}  // namespace noxsup::vm
