// The memory that a guest has free, emptied: what is in it is nobody's, and would be kept and
// copied.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <string_view>

#include "qmp/client.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::vm {

/// The last line of a settled guest's words: the KiB that its kernel calls MemFree
/// (proc_meminfo(5)), in bytes; 0 where that is no number.
std::uint64_t free_bytes_of(std::string_view words);

/// Has the balloon take what the guest has free, less what it may need meanwhile, and give it back:
/// QEMU makes holes of it in the file below. A guest that lets the balloon have less, or has no
/// driver for it, is as well. Honours cancellation. Errors: guest_failed where the balloon keeps
/// what it has; of qmp::balloon() and qmp::query_balloon().
boost::asio::awaitable<Result<>> empty_free_pages(qmp::Client& client, std::uint64_t memory_bytes,
                                                  std::uint64_t free_bytes);

}  // namespace noxsup::vm
