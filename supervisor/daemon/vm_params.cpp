#include "supervisor/daemon/vm_params.hpp"

namespace noxsup::daemon {

Result<std::string> text_of(const Json& params, std::string_view key) {
    auto text = json_member<std::string>(params, key);
    if (!text) return Error{ErrorCode::invalid_argument, text.error().message};
    return text;
}

Result<bool> flag_of(const Json& params, std::string_view key) {
    auto value = json_member_or<bool>(params, key, false);
    if (!value) return Error{ErrorCode::invalid_argument, value.error().message};
    return value;
}

Result<std::shared_ptr<vm::Vm>> vm_of(const Services& services, const Json& params) {
    NOXSUP_TRY_VALUE(const auto name, text_of(params, "name"));
    return services.registry.find(name);
}

control::Reply vm_reply(const vm::Vm& vm) {
    return control::Reply(Json{{"vm", vm.to_json()}});
}

}  // namespace noxsup::daemon
