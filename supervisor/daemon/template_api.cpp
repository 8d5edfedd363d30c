// The template.* methods.

#include <algorithm>

#include "supervisor/base/disk_use.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/daemon/create.hpp"
#include "supervisor/daemon/params.hpp"
#include "supervisor/daemon/template_making.hpp"
#include "supervisor/launch/ram_state.hpp"

namespace noxsup::daemon {
namespace {

using control::CallContext;
using control::Reply;
using ReplyAwaitable = boost::asio::awaitable<Result<Reply>>;

/// The VMs that began with it.
std::vector<std::string> users_of(const Services& services, const std::string& id) {
    std::vector<std::string> users;
    for (const auto& vm : services.registry.all()) {
        const auto& spec = vm->spec();
        if (spec.warm_template == id && !spec::becomes_template(spec)) users.push_back(spec.name);
    }
    return users;
}

/// In what today's QEMU differs from the one that it is of: no VM begins with it then.
boost::asio::awaitable<std::string> why_of_no_use(Services& services, const state::Template& made) {
    const auto qemu = co_await services.qemu(made.spec.arch);
    if (!qemu) co_return qemu.error().message;
    if (!services.image_store.by_digest(made.disk_digest)) co_return "its disk is gone";
    co_return launch::ram_state_difference(made.key,
                                           launch::template_key(made.spec, qemu->version));
}

Json template_json(const Services& services, const state::Template& made,
                   const std::string& of_no_use) {
    const auto directory = services.templates.store().directory(made.id);
    auto networks = Json::array();
    for (const auto& network : made.spec.networks) networks.push_back(to_string(network.mode));
    const auto image = services.image_store.by_digest(made.disk_digest);
    return {{"id", made.id},
            {"os", made.spec.os.empty() ? Json() : Json(made.spec.os)},
            {"image", made.spec.image},
            {"arch", to_string(made.spec.arch)},
            {"accel", to_string(made.spec.accel)},
            {"cpus", made.spec.cpus},
            {"memory_bytes", made.spec.memory_bytes},
            {"disk",
             {{"virtual_bytes", made.spec.disk.virtual_bytes},
              {"used_bytes", image ? Json(image->file_bytes) : Json()}}},
            {"user", made.spec.user},
            {"networks", std::move(networks)},
            {"created_at", made.created_at},
            {"ram_file_bytes", used_bytes(directory / state::template_ram_file)},
            {"of_no_use", of_no_use.empty() ? Json() : Json(of_no_use)},
            {"used_by", users_of(services, made.id)}};
}

ReplyAwaitable create(Services& services, CallContext& call, Json params) {
    // Only for the parser: the VM's own name is made from the template's id.
    params["name"] = "template";
    NOXSUP_CO_TRY_VALUE(auto asked, read_create_request(services, params));
    if (const auto* reason = why_no_template(asked.request); reason != nullptr)
        co_return Error{ErrorCode::invalid_argument, std::string("a template: ") + reason};
    TemplateMaking making(services, call, std::move(asked.request), std::move(asked.facts));
    auto work = making.run();
    NOXSUP_CO_TRY_VALUE(const auto made, co_await std::move(work));
    co_return Reply(Json{{"template", template_json(services, made, "")}});
}

ReplyAwaitable list(Services& services, CallContext& call, Json /*params*/) {
    NOXSUP_CO_TRY_VALUE(const auto found, services.templates.store().list());
    for (const auto& problem : found.problems) call.note("damaged: " + problem);
    auto templates = Json::array();
    for (const auto& made : found.templates) {
        auto asking = why_of_no_use(services, made);
        const auto of_no_use = co_await std::move(asking);
        templates.push_back(template_json(services, made, of_no_use));
    }
    co_return Reply(Json{{"templates", std::move(templates)}});
}

ReplyAwaitable remove(Services& services, CallContext& /*call*/, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto id, parameter<std::string>(params, "id"));
    NOXSUP_CO_TRY_VALUE(const auto found, services.templates.store().list());
    const auto& all = found.templates;
    if (std::ranges::find(all, id, &state::Template::id) == all.end()) {
        co_return Error{ErrorCode::image_not_found, "there is no template " + id,
                        "see noxsup template ls"};
    }
    if (const auto users = users_of(services, id); !users.empty()) {
        co_return Error{ErrorCode::image_in_use,
                        "the template " + id + " is in use by " + join(users, ", "),
                        "remove these VMs first"};
    }
    NOXSUP_CO_TRY(services.templates.store().remove(id));
    co_return Reply();
}

}  // namespace

void register_template_api(control::Server& server, Services& services) {
    register_methods(server, services,
                     {{control::method::template_create, create},
                      {control::method::template_list, list},
                      {control::method::template_remove, remove}});
}

}  // namespace noxsup::daemon
