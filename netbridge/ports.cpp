#include "netbridge/ports.hpp"

#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>

#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::netbridge {
namespace {

sockaddr_in socket_address(const Ipv4Address& address, std::uint16_t port) {
    sockaddr_in result{};
    result.sin_family = AF_INET;
    result.sin_addr.s_addr = htonl(address.to_uint());
    result.sin_port = htons(port);
    return result;
}

std::optional<IpAddress> to_ip(const sockaddr* address) {
    if (address != nullptr && address->sa_family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, address, sizeof(v4));
        return Ipv4Address(ntohl(v4.sin_addr.s_addr));
    }
    if (address != nullptr && address->sa_family == AF_INET6) {
        sockaddr_in6 v6{};
        std::memcpy(&v6, address, sizeof(v6));
        return Ipv6Address(std::to_array(v6.sin6_addr.s6_addr));
    }
    return std::nullopt;
}

/// A socket bound to it, or nothing with errno set.
UniqueFd bind_socket(int type, const Ipv4Address& address, std::uint16_t port, bool reuse) {
    UniqueFd fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
    const int on = reuse ? 1 : 0;
    const auto name = socket_address(address, port);
    if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0) {
        const int failure = errno;
        fd.reset();
        errno = failure;
    }
    return fd;
}

Error bind_error(const PublishSpec& spec, int failure) {
    const auto port = std::string(to_string(spec.protocol)) + " port " +
                      spec.bind_address.to_string() + ":" + std::to_string(spec.host_port);
    if (failure == EADDRINUSE) {
        const auto holder = find_port_holder(spec);
        return {ErrorCode::port_taken, port + " is in use" + (holder ? " by " + *holder : ""),
                "publish another port: --publish OTHER:" + std::to_string(spec.guest_port)};
    }
    if (failure == EACCES || failure == EPERM) {
        return {ErrorCode::host_lacks_right, "no right to listen on " + port,
                "publish a port of 1024 or more, or run noxsup as root"};
    }
    if (failure == EADDRNOTAVAIL) {
        return {ErrorCode::invalid_argument,
                spec.bind_address.to_string() + " is not an address of this host",
                "publish on 127.0.0.1, 0.0.0.0 or one of the host's addresses (ip address)"};
    }
    return errno_error("listen on " + port, failure);
}

/// A row of /proc/net/{tcp,tcp6,udp,udp6}: "sl: LOCAL:PORT REMOTE:PORT STATE ... uid timeout INODE
/// ...". The inode when the row is a socket that keeps others from the port.
std::string inode_of_row(std::string_view line, const PublishSpec& spec) {
    std::vector<std::string> fields;
    for (auto& field : split(line, ' ')) {
        if (!field.empty()) fields.push_back(std::move(field));
    }
    constexpr std::size_t inode_field = 9;
    if (fields.size() <= inode_field) return {};
    const auto colon = fields[1].rfind(':');
    if (colon == std::string::npos) return {};
    unsigned port = 0;
    const auto* end = fields[1].data() + fields[1].size();
    constexpr int hexadecimal = 16;
    if (std::from_chars(fields[1].data() + colon + 1, end, port, hexadecimal).ptr != end) return {};
    constexpr std::string_view listening = "0A";
    const bool blocks = spec.protocol == PortProtocol::udp || fields[3] == listening;
    return port == spec.host_port && blocks ? fields[inode_field] : std::string();
}

/// "socket:[INODE]" of all sockets that hold the port on any address.
std::set<std::string> holders_of(const PublishSpec& spec) {
    std::set<std::string> result;
    constexpr std::size_t limit = std::size_t{16} << 20U;
    for (const std::string_view family : {"", "6"}) {
        const auto path =
            "/proc/net/" + std::string(to_string(spec.protocol)) + std::string(family);
        const auto table = read_file(path, limit);
        if (!table) continue;
        for (const auto& line : split(*table, '\n')) {
            const auto inode = inode_of_row(line, spec);
            if (!inode.empty() && inode != "0") result.insert("socket:[" + inode + "]");
        }
    }
    return result;
}

bool holds_one(const std::filesystem::path& process, const std::set<std::string>& sockets) {
    std::error_code failure;
    std::filesystem::directory_iterator entry(process / "fd", failure);
    for (; !failure && entry != std::filesystem::directory_iterator(); entry.increment(failure)) {
        std::error_code unreadable;
        const auto target = std::filesystem::read_symlink(entry->path(), unreadable);
        if (!unreadable && sockets.contains(target.string())) return true;
    }
    return false;
}

/// "dnsmasq (pid 12)". @param process its directory in /proc
std::string describe_process(const std::filesystem::path& process) {
    constexpr std::size_t limit = 4096;
    const auto name = read_file(process / "comm", limit);
    const auto shown = name ? escape_for_terminal(trim(*name)) : std::string("a process");
    return shown + " (pid " + process.filename().string() + ")";
}

}  // namespace

Result<PortReservation> reserve_loopback_port() {
    const auto address = Ipv4Address::loopback();
    // Without SO_REUSEADDR the kernel picks a port that nobody has, another reservation included.
    auto fd = bind_socket(SOCK_STREAM, address, 0, false);
    sockaddr_in bound{};
    socklen_t length = sizeof(bound);
    const int on = 1;
    if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &length) != 0) {
        return errno_error("find a free port on 127.0.0.1", errno, ErrorCode::no_ports);
    }
    return PortReservation(std::move(fd), address, ntohs(bound.sin_port));
}

Result<PortReservation> reserve_port(const PublishSpec& spec) {
    const bool tcp = spec.protocol == PortProtocol::tcp;
    // For TCP with SO_REUSEADDR: connections of a former VM that linger in TIME_WAIT are no
    // obstacle, a listener is. For UDP the option would let us share the port with anyone.
    auto fd = bind_socket(tcp ? SOCK_STREAM : SOCK_DGRAM, spec.bind_address, spec.host_port, tcp);
    if (!fd) return bind_error(spec, errno);
    if (!tcp) fd.reset();
    return PortReservation(std::move(fd), spec.bind_address, spec.host_port);
}

Result<UniqueFd> listen_on_port(const PublishSpec& spec) {
    const bool tcp = spec.protocol == PortProtocol::tcp;
    auto fd = bind_socket(tcp ? SOCK_STREAM : SOCK_DGRAM, spec.bind_address, spec.host_port, tcp);
    if (!fd) return bind_error(spec, errno);
    // Another one may have bound the port beside us; only one listens.
    if (tcp && ::listen(fd.get(), SOMAXCONN) != 0) return bind_error(spec, errno);
    if (::fcntl(fd.get(), F_SETFL, O_NONBLOCK) != 0) return errno_error("listen on a port", errno);
    return fd;
}

bool is_own_address(const IpAddress& address) {
    ifaddrs* first = nullptr;
    if (::getifaddrs(&first) != 0) return false;
    const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> list(first, ::freeifaddrs);
    for (const auto* entry = first; entry != nullptr; entry = entry->ifa_next) {
        const auto own = to_ip(entry->ifa_addr);
        if (own && *own == address) return true;
    }
    return false;
}

std::optional<std::string> find_port_holder(const PublishSpec& spec) {
    const auto sockets = holders_of(spec);
    if (sockets.empty()) return std::nullopt;
    std::error_code failure;
    std::filesystem::directory_iterator entry("/proc", failure);
    for (; !failure && entry != std::filesystem::directory_iterator(); entry.increment(failure)) {
        const auto pid = entry->path().filename().string();
        if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
        if (!holds_one(entry->path(), sockets)) continue;
        return describe_process(entry->path());
    }
    return std::nullopt;
}

}  // namespace noxsup::netbridge
