// Scripts for the guest by a virtio-serial port, which needs neither a network nor anybody's agent:
// a unit that came with the initial RAM disk listens there (launch/guest_units.hpp).
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <string>
#include <string_view>

#include "supervisor/base/result.hpp"

namespace noxsup::vm {

/// The most that a script may have: it goes into the socket's buffer at once.
inline constexpr std::size_t max_order_bytes = std::size_t{96} << 10;

/// Puts "run BYTES TOKEN" and the script into the port. Never waits; a guest that stands still
/// reads it when it goes on. @param token without spaces, new for each order Errors: io_error (the
/// port takes no more), invalid_argument for a script that is too long.
Result<> post_order(int port, std::string_view script, std::string_view token);

/// Waits for "done TOKEN STATUS WORDS"; the script's last words, which are the guest's and not to
/// be trusted. What else the guest says is dropped. Honours cancellation. Errors: guest_failed for
/// another status than 0, with the last words as evidence, and when QEMU has ended; timeout,
/// interrupted.
boost::asio::awaitable<Result<std::string>> await_order(int port, std::string token,
                                                        std::chrono::steady_clock::duration limit);

}  // namespace noxsup::vm
