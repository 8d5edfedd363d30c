// Reading the parameters that the vm.* methods share.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "supervisor/control/server.hpp"
#include "supervisor/daemon/services.hpp"

namespace noxsup::daemon {

/// The member `key` as a text. Errors: invalid_argument.
Result<std::string> text_of(const Json& params, std::string_view key);
/// A switch; false when it is not there. Errors: invalid_argument.
Result<bool> flag_of(const Json& params, std::string_view key);
/// The VM that the member `name` names. Errors: invalid_argument, and of Registry::find.
Result<std::shared_ptr<vm::Vm>> vm_of(const Services& services, const Json& params);
/// {"vm": ...}
control::Reply vm_reply(const vm::Vm& vm);

}  // namespace noxsup::daemon
