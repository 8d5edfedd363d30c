#include "supervisor/daemon/service_manager.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstddef>

#include "supervisor/base/unique_fd.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::daemon {
namespace {

/// What a service manager has: a datagram socket, at a path or at an abstract name ('@').
class Listener {
  public:
    explicit Listener(const std::string& name)
        : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        name.copy(address.sun_path, sizeof address.sun_path - 1);
        if (name.front() == '@') address.sun_path[0] = '\0';
        const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
        EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
    }
    std::string next() {
        pollfd waiting{socket_.get(), POLLIN, 0};
        if (::poll(&waiting, 1, 5000) != 1) return "nothing";
        std::array<char, 256> buffer{};
        const auto got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
        return {buffer.data(), static_cast<std::size_t>(got)};
    }

  private:
    UniqueFd socket_;
};

TEST(ServiceManager, HearsOneMessageADatagram) {
    const test::TempDir dir;
    const auto abstract = "@noxsup-test-" + std::to_string(::getpid());
    for (const auto& name : {(dir / "notify").string(), abstract}) {
        Listener listener(name);
        const ServiceManager manager(name);
        manager.ready();
        manager.alive();
        manager.stopping();
        EXPECT_EQ(listener.next(), "READY=1");
        EXPECT_EQ(listener.next(), "WATCHDOG=1");
        EXPECT_EQ(listener.next(), "STOPPING=1");
    }
}

TEST(ServiceManager, IsTakenFromTheEnvironment) {
    const test::TempDir dir;
    const auto name = (dir / "notify").string();
    Listener listener(name);
    ASSERT_EQ(::setenv("NOTIFY_SOCKET", name.c_str(), 1), 0);
    const auto manager = ServiceManager::from_environment();
    ::unsetenv("NOTIFY_SOCKET");
    manager.ready();
    EXPECT_EQ(listener.next(), "READY=1");
    EXPECT_NO_FATAL_FAILURE(ServiceManager::from_environment().ready());
}

TEST(ServiceManager, NobodyAndNonsenseAreNoError) {
    const test::TempDir dir;
    const auto far = "/" + std::string(200, 'x');
    for (const auto& name : {std::string(), (dir / "none").string(), std::string("vsock:2:1234"),
                             std::string("relative"), far}) {
        const ServiceManager manager(name);
        EXPECT_NO_FATAL_FAILURE(manager.ready());
    }
}

TEST(ServiceManager, OneThatDoesNotReadHoldsNothingUp) {
    const test::TempDir dir;
    const auto name = (dir / "notify").string();
    const Listener listener(name);
    const ServiceManager manager(name);
    // Far beyond what the socket holds: a blocking send would stay for ever.
    for (int i = 0; i < 5000; ++i) manager.alive();
}

}  // namespace
}  // namespace noxsup::daemon
