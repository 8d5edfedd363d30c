// Ports of the host that lead to a guest: found, checked, and reserved until QEMU listens on them
// or opened for a proxy of ours.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "netbridge/publish.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::netbridge {

/// A TCP port of the host kept from everyone but QEMU: a bound socket that does not listen. QEMU
/// binds with SO_REUSEADDR, and so do we, hence it may listen on the port *while* the reservation
/// is held: keep it until QEMU answers on QMP, then let it go. No other process gets the port in
/// between.
class PortReservation {
  public:
    [[nodiscard]] std::uint16_t port() const { return port_; }
    [[nodiscard]] Ipv4Address address() const { return address_; }

  private:
    friend Result<PortReservation> reserve_loopback_port();
    friend Result<PortReservation> reserve_port(const PublishSpec& spec);
    PortReservation(UniqueFd socket, Ipv4Address address, std::uint16_t port)
        : socket_(std::move(socket)), address_(std::move(address)), port_(port) {}

    UniqueFd socket_;  ///< none for UDP
    Ipv4Address address_;
    std::uint16_t port_;
};

/// A free TCP port on 127.0.0.1 (for ssh), from the kernel's ephemeral range. Errors: no_ports.
Result<PortReservation> reserve_loopback_port();

/// The host port of a `--publish`. UDP ports are checked but not held (two bound UDP sockets would
/// share the datagrams). Errors: port_taken naming the port and, where it can be found, the
/// process; host_lacks_right for a port below 1024 without the right; invalid_argument when the
/// address is none of this host.
Result<PortReservation> reserve_port(const PublishSpec& spec);

/// The host's end of a published port that this process serves itself: bound, non-blocking and, for
/// TCP, listening. Errors: as reserve_port().
Result<UniqueFd> listen_on_port(const PublishSpec& spec);

/// Whether it is an address of this host itself. False when that cannot be told.
bool is_own_address(const IpAddress& address);

/// Who has the port bound: "nginx (pid 123)"; nothing when it cannot be seen (another user's
/// process).
std::optional<std::string> find_port_holder(const PublishSpec& spec);

}  // namespace noxsup::netbridge
