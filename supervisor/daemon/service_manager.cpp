#include "supervisor/daemon/service_manager.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>

#include "supervisor/base/error.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::daemon {

ServiceManager ServiceManager::from_environment() {
    const char* socket = ::getenv("NOTIFY_SOCKET");
    return ServiceManager(socket == nullptr ? "" : socket);
}

void ServiceManager::tell(std::string_view message) const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const bool known = !socket_.empty() && (socket_.front() == '/' || socket_.front() == '@');
    if (!known || socket_.size() >= sizeof address.sun_path) return;
    socket_.copy(address.sun_path, socket_.size());
    if (socket_.front() == '@') address.sun_path[0] = '\0';
    // Made for each message: they are rare, and a descriptor less is held.
    const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
    const auto sent = ::sendto(fd.get(), message.data(), message.size(), MSG_NOSIGNAL,
                               reinterpret_cast<const sockaddr*>(&address), length);
    if (sent < 0) log_debug(errno_error("tell the service manager", errno).message);
}

}  // namespace noxsup::daemon
