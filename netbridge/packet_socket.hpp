// A packet socket on a TAP or macvtap that sees only what tells a guest's address.
#pragma once

#include <linux/filter.h>

#include <optional>
#include <span>
#include <vector>

#include "netbridge/packets.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::netbridge {

/// On which side of its network device the guest is. What it sends comes in on a TAP, and goes out
/// on a macvtap.
enum class GuestDevice { tap, macvtap };

/// The filter (classic BPF, run by the kernel on every frame of the TAP): accepts untagged ARP and
/// neighbour discovery (ICMPv6 135 and 136) from the guest's MAC on its way from the guest, and
/// unfragmented BOOTP replies with the guest's MAC as chaddr on their way to it. Everything else
/// costs some instructions and is never copied.
std::vector<sock_filter> guest_address_filter(const MacAddress& guest,
                                              GuestDevice device = GuestDevice::tap);

/// A non-blocking socket bound to the device with the filter; it never held an unfiltered frame.
/// Errors: host_lacks_right without CAP_NET_RAW, io_error.
Result<UniqueFd> open_guest_socket(int link_index, const MacAddress& guest,
                                   GuestDevice device = GuestDevice::tap);

/// A non-blocking socket bound to the device that receives ARP and may send frames. Errors:
/// host_lacks_right without CAP_NET_RAW, io_error.
Result<UniqueFd> open_arp_socket(int link_index);

/// A frame with its direction.
struct ReceivedFrame {
    Frame frame;  ///< in the caller's buffer
    bool to_guest = false;
};

/// The next frame that waits; nothing when there is none. A frame longer than the buffer is cut.
/// A device that is down or gone is silent. Errors: io_error.
Result<std::optional<ReceivedFrame>> receive_frame(int socket, std::span<std::uint8_t> buffer,
                                                   GuestDevice device = GuestDevice::tap);

}  // namespace noxsup::netbridge
