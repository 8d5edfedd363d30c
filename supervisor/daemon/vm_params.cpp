#include "supervisor/daemon/vm_params.hpp"

namespace noxsup::daemon {

Result<std::shared_ptr<vm::Vm>> vm_of(const Services& services, const Json& params) {
    NOXSUP_TRY_VALUE(const auto name, parameter<std::string>(params, "name"));
    return services.registry.find(name);
}

control::Reply vm_reply(const vm::Vm& vm) {
    return control::Reply(Json{{"vm", vm.to_json()}});
}

}  // namespace noxsup::daemon
