#include "supervisor/base/unix_socket.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "supervisor/base/file.hpp"

namespace noxsup {
namespace {

/// An address for `path`; long ones go through /proc/self/fd of the open directory.
struct Address {
    sockaddr_un name{};
    socklen_t length = 0;
    UniqueFd directory;  ///< keeps the short path valid
};

Result<Address> address_of(const std::filesystem::path& path) {
    Address address;
    auto text = path.string();
    if (text.size() >= sizeof(address.name.sun_path)) {
        NOXSUP_TRY_VALUE(address.directory, open_file(path.parent_path(), O_PATH | O_DIRECTORY));
        text = "/proc/self/fd/" + std::to_string(address.directory.get()) + "/" +
               path.filename().string();
        if (text.size() >= sizeof(address.name.sun_path)) {
            return Error{ErrorCode::io_error, "socket name too long: " + path.string()};
        }
    }
    address.name.sun_family = AF_UNIX;
    std::memcpy(address.name.sun_path, text.c_str(), text.size() + 1);
    address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size() + 1);
    return address;
}

const sockaddr* generic(const sockaddr_un& name) {
    return reinterpret_cast<const sockaddr*>(&name);
}

UniqueFd stream_socket() {
    return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

}  // namespace

Result<UniqueFd> listen_unix(const std::filesystem::path& path, mode_t mode) {
    NOXSUP_TRY_VALUE(const auto address, address_of(path));
    auto fd = stream_socket();
    if (!fd) return errno_error("make a socket", errno);
    // fchmod before bind gives the name its mode at birth: there is no moment with another one.
    if (::fchmod(fd.get(), mode) != 0) return errno_error("chmod of a socket", errno);
    if (::bind(fd.get(), generic(address.name), address.length) != 0) {
        return errno_error("bind " + path.string(), errno);
    }
    if (::chmod(path.c_str(), mode) != 0 || ::listen(fd.get(), SOMAXCONN) != 0) {
        auto error = errno_error("listen on " + path.string(), errno);
        ::unlink(path.c_str());
        return error;
    }
    return fd;
}

Result<UniqueFd> connect_unix(const std::filesystem::path& path) {
    NOXSUP_TRY_VALUE(const auto address, address_of(path));
    auto fd = stream_socket();
    if (!fd) return errno_error("make a socket", errno);
    int outcome = 0;
    do {
        outcome = ::connect(fd.get(), generic(address.name), address.length);
    } while (outcome != 0 && errno == EINTR);
    if (outcome != 0) {
        return errno_error("connect to " + path.string(), errno, ErrorCode::supervisor_unreachable);
    }
    return fd;
}

Result<PeerCredentials> peer_credentials(int socket) {
    ucred credentials{};
    socklen_t length = sizeof(credentials);
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
        return errno_error("read peer credentials", errno);
    }
    PeerCredentials peer{credentials.pid, credentials.uid, credentials.gid};
    // The kernel tells how many there are when there is not enough room.
    length = 0;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, nullptr, &length) != 0 && errno != ERANGE)
        return errno_error("read peer groups", errno);
    peer.groups.resize(length / sizeof(gid_t));
    if (length > 0 &&
        ::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(), &length) != 0) {
        return errno_error("read peer groups", errno);
    }
    return peer;
}

Result<std::size_t> send_with_fds(int socket, std::string_view data, std::span<const int> fds) {
    iovec part{const_cast<char*>(data.data()), data.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(max_passed_fds * sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (fds.size() > max_passed_fds)
        return Error{ErrorCode::io_error, "too many descriptors to send"};
    if (!fds.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(fds.size_bytes());
        auto* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
    }
    for (;;) {
        const auto sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) return static_cast<std::size_t>(sent);
        if (errno == EINTR) continue;
        if (errno == EAGAIN) return std::size_t{0};
        return errno_error("send", errno);
    }
}

Result<Received> receive_with_fds(int socket, std::span<char> buffer) {
    iovec part{buffer.data(), buffer.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(max_passed_fds * sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ssize_t got = 0;
    do {
        got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    Received received;
    if (got < 0) {
        if (errno != EAGAIN) return errno_error("receive", errno);
        received.would_block = true;
        return received;
    }
    received.bytes = static_cast<std::size_t>(got);
    received.closed = got == 0;
    for (auto* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        const auto count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
            received.fds.emplace_back(fd);
        }
    }
    if ((message.msg_flags & MSG_CTRUNC) != 0) {
        return Error{ErrorCode::protocol_error, "a message came with too many descriptors"};
    }
    return received;
}

}  // namespace noxsup
