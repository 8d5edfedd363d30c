// A published port of a VM on a bridge: what reaches a port of the host is passed on to the guest.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>

#include "netbridge/publish.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::vm {

/// What one published port may take of the supervisor. Beyond its own limits the port is never
/// given the last quarter of the process's descriptors: whoever comes then is hung up on.
struct ProxyLimits {
    /// TCP connections at once. Further ones wait in the kernel's queue until one ends.
    std::size_t connections = 256;
    /// UDP clients at once. A further one takes the place of the one that was silent longest.
    std::size_t clients = 256;
    /// Held for each direction of a connection while its receiver does not read; the sender is not
    /// read meanwhile. A connection on which nothing is under way holds none.
    std::size_t buffer_bytes = std::size_t{32} << 10;
    std::chrono::milliseconds connect{10'000};   ///< within which the guest has to answer
    std::chrono::milliseconds udp_idle{60'000};  ///< after which a silent client is forgotten
};

/// Serves one published port for as long as it lives. Its end is that of every connection.
class PortProxy {
  public:
    /// The guest's present address; asked for each connection and each datagram. It is what the
    /// guest claims: one that is this host's own is not connected to.
    using FindGuest = std::function<std::optional<netbridge::IpAddress>()>;

    /// Listens at once. TCP: a side that ends its half closes that half alone, a reset passes on as
    /// a reset, and a connection is reset where the guest cannot be reached. UDP: answers come from
    /// the address that the client had sent to. All on the executor, one thread. Errors: as
    /// netbridge::listen_on_port().
    static Result<std::unique_ptr<PortProxy>> open(const boost::asio::any_io_executor& executor,
                                                   const netbridge::PublishSpec& spec,
                                                   FindGuest find_guest, ProxyLimits limits = {});

    PortProxy() = default;
    PortProxy(const PortProxy&) = delete;
    PortProxy& operator=(const PortProxy&) = delete;
    virtual ~PortProxy() = default;

    /// TCP connections, or UDP clients, at present.
    [[nodiscard]] virtual std::size_t users() const = 0;
};

/// Whether a descriptor is one of those that are left to the supervisor's own work.
bool is_reserved_descriptor(int fd);

}  // namespace noxsup::vm
