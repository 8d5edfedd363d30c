// The UDP side of PortProxy.
#pragma once

#include "supervisor/base/unique_fd.hpp"
#include "supervisor/vm/port_proxy.hpp"

namespace noxsup::vm {

/// Serves a bound, non-blocking UDP socket of the host. Errors: io_error.
Result<std::unique_ptr<PortProxy>> serve_udp(const boost::asio::any_io_executor& executor,
                                             UniqueFd entry, std::uint16_t guest_port,
                                             PortProxy::FindGuest find_guest, ProxyLimits limits);

}  // namespace noxsup::vm
