// MacAddress: an Ethernet address, parsed and checked once, and the rules by which VMs get theirs.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "supervisor/base/result.hpp"

namespace noxsup::netbridge {

/// Six bytes of an Ethernet address (IEEE 802-2014 section 8.2).
class MacAddress {
  public:
    using Bytes = std::array<std::uint8_t, 6>;

    /// 00:00:00:00:00:00.
    MacAddress() = default;
    explicit MacAddress(const Bytes& bytes) : bytes_(bytes) {}

    /// Six pairs of hexadecimal digits separated by ':' or, all of them, by '-'.
    /// Errors: invalid_argument.
    static Result<MacAddress> parse(std::string_view text);

    /// "52:54:00:12:34:56", lower case.
    [[nodiscard]] std::string to_string() const;
    [[nodiscard]] const Bytes& bytes() const { return bytes_; }
    [[nodiscard]] bool is_multicast() const { return (bytes_[0] & 0x01U) != 0; }
    [[nodiscard]] bool is_zero() const { return bytes_ == Bytes{}; }

    auto operator<=>(const MacAddress&) const = default;

  private:
    Bytes bytes_{};
};

/// The address of a VM from three random bytes kept with it: 52:54:00:xx:xx:xx, locally
/// administered and unicast, in the range that QEMU's users know.
MacAddress guest_mac(std::span<const std::uint8_t, 3> random);

/// guest_mac() of three fresh random bytes; the caller stores it, so that it stays the VM's.
MacAddress random_guest_mac();

/// parse() for an address that a user chose for a VM (`--mac`): refuses multicast, all-zero and
/// those that begin with fe:, which host-side addresses of TAPs have. Errors: invalid_argument.
Result<MacAddress> parse_guest_mac(std::string_view text);

/// The address of the host's side of a VM's TAP: fe: and the other five bytes of the guest's. It is
/// higher than every vendor's, so a bridge never takes it over from its ports.
MacAddress host_side_mac(const MacAddress& guest);

}  // namespace noxsup::netbridge
