// A published port in a network namespace of its own: the test is the guest and its clients.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <boost/asio.hpp>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "supervisor/vm/port_proxy.hpp"
#include "tests/support/net_namespace.hpp"

namespace noxsup::vm {

/// A blocking socket whose waits end with an error after some seconds.
class Peer {
  public:
    explicit Peer(UniqueFd fd);
    /// Throws when the port refuses.
    static Peer connect(const std::string& address, std::uint16_t port, int type);
    static Peer bind(const std::string& address, std::uint16_t port, int type);

    [[nodiscard]] int fd() const { return fd_.get(); }
    Peer accept() const;
    /// Sends all of it, in pieces of `piece` at most; throws when the connection does not take it.
    void send(std::string_view data, std::size_t piece = 1 << 16) const;
    /// What comes next; empty at the end. Throws on a reset, and when nothing comes in time.
    std::string receive(std::size_t most = 1 << 16) const;
    /// Everything up to the end of the stream.
    std::string receive_all() const;
    /// True when the other side has ended or reset the connection without a byte.
    bool is_hung_up() const;
    void end_sending() const;
    /// The next close() resets the connection.
    void reset();

  private:
    UniqueFd fd_;
};

/// `size` bytes that no shift of themselves equals.
std::string pattern(std::size_t size, unsigned seed);

std::size_t open_descriptors();

class ProxyTest : public testing::Test {
  protected:
    void SetUp() override;
    void TearDown() override;

    /// On the proxy's own thread.
    template <class F>
    auto on_loop(F function) {
        std::packaged_task<decltype(function())()> task(std::move(function));
        auto done = task.get_future();
        boost::asio::post(context_, [&task] { task(); });
        return done.get();
    }
    /// Publishes guest_port at 127.0.0.1:8080 or at what `text` says.
    void publish(ProxyLimits limits = {}, const std::string& text = "8080:80");
    void move_guest(std::optional<std::string> address);
    std::size_t users() {
        return on_loop([this] { return proxy_->users(); });
    }
    [[nodiscard]] static bool wait_for(const std::function<bool()>& goal);

    test::NetNamespace namespace_;
    boost::asio::io_context context_;
    std::optional<netbridge::IpAddress> address_;  ///< of the guest; the loop's
    std::unique_ptr<PortProxy> proxy_;             ///< the loop's
    std::thread loop_;
};

inline const std::string guest_address = "127.0.0.2";

}  // namespace noxsup::vm
