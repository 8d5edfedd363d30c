// What the vm.* methods share: the VM that a call is about, and the answer that shows it.
#pragma once

#include <memory>

#include "supervisor/control/server.hpp"
#include "supervisor/daemon/params.hpp"
#include "supervisor/daemon/services.hpp"

namespace noxsup::daemon {

/// The VM that the member `name` names. Errors: invalid_argument, and of Registry::find.
Result<std::shared_ptr<vm::Vm>> vm_of(const Services& services, const Json& params);
/// {"vm": ...}
control::Reply vm_reply(const vm::Vm& vm);

}  // namespace noxsup::daemon
