// The character device at which a macvtap's frames are read and written.
#pragma once

#include <vector>

#include "netbridge/kernel_network.hpp"

namespace noxsup::netbridge {

/// Opens /dev/tapN (N: the device's index) once a queue, with IFF_VNET_HDR. The node is made by the
/// kernel (devtmpfs) or by udev, never here, and is opened only if it is this macvtap's: indexes of
/// other network namespaces give the same names. Errors: wrong_state while there is none;
/// host_lacks_right; io_error.
Result<std::vector<UniqueFd>> open_macvtap_queues(const Link& link, unsigned queues);

/// Whether some process has it open; true as well where that cannot be told.
bool is_held_by_a_process(const Link& link);

}  // namespace noxsup::netbridge
