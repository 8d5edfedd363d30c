// Removing a VM, whatever it is doing.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>

#include "supervisor/daemon/services.hpp"

namespace noxsup::daemon {

/// Ends its QEMU without asking the guest, then removes its files and it. Errors: of
/// vm::Vm::stop(); wrong_state while its disk is being worked on; io_error. It is there as before
/// then, but stopped.
boost::asio::awaitable<Result<>> delete_vm(Services& services, std::shared_ptr<vm::Vm> vm);

}  // namespace noxsup::daemon
