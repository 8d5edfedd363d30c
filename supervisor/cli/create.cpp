#include <filesystem>

#include "supervisor/base/text.hpp"
#include "supervisor/cli/inputs.hpp"
#include "supervisor/cli/terminal.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/cli/vm_calls.hpp"
#include "supervisor/cli/vm_view.hpp"
#include "supervisor/control/methods.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::cli {
namespace {

/// The request and the image file that goes with it.
struct Request {
    Json params = Json::object();
    UniqueFd image;
};

void add_texts(const CreateOptions& options, Json& params) {
    const auto add = [&params](const char* key, const std::optional<std::string>& value) {
        if (value) params[key] = *value;
    };
    add("os", options.os);
    add("arch", options.arch);
    add("cpus", options.cpus);
    add("ram", options.ram);
    add("disk", options.disk);
    add("ip", options.ip);
    add("gateway", options.gateway);
    add("mac", options.mac);
    add("rate", options.rate);
    add("vlan", options.vlan);
    add("user", options.user);
    add("accel", options.accel);
    add("restart", options.restart);
    add("boot", options.boot);
    // What is not started has nothing to be waited for.
    if (!options.no_start) add("wait", options.wait);
    if (!options.networks.empty()) params["network"] = options.networks;
    if (!options.publish.empty()) params["publish"] = options.publish;
    if (!options.dns.empty()) params["dns"] = options.dns;
    if (options.no_autostart) params["autostart"] = false;
    if (options.no_start) params["start"] = false;
    if (options.isolated) params["isolated"] = true;
    if (options.allow_spoofing) params["allow_spoofing"] = true;
    if (options.stock) params["stock"] = true;
    if (options.cold) params["cold"] = true;
    if (options.password) params["password"] = true;
}

Result<> add_image(const std::string& image, Request& request) {
    switch (classify_image(image)) {
        case ImageSource::url:
            request.params["image_url"] = image;
            break;
        case ImageSource::name:
            request.params["image"] = image;
            break;
        case ImageSource::file:
            NOXSUP_TRY_VALUE(request.image, open_image_file(image));
            request.params["image_fd"] = 0;
            request.params["image_source"] = std::filesystem::path(image).filename().string();
            break;
    }
    return {};
}

Result<Request> make_request(Session& session, const CreateOptions& options) {
    NOXSUP_TRY(spec::check_vm_name(options.name));
    Request request;
    NOXSUP_TRY_VALUE(request.params, timeout_params(options.timeout));
    request.params["name"] = options.name;
    add_texts(options, request.params);
    if (options.image) NOXSUP_TRY(add_image(*options.image, request));
    auto keys = own_public_keys();
    for (const auto& file : options.ssh_keys) {
        NOXSUP_TRY_VALUE(const auto more, read_public_keys(file));
        keys.insert(keys.end(), more.begin(), more.end());
    }
    request.params["ssh_keys"] = keys;
    auto documents = Json::array();
    for (const auto& source : options.cloud_init) {
        NOXSUP_TRY_VALUE(auto document, read_document(session, source));
        documents.push_back(std::move(document));
    }
    if (!documents.empty()) request.params["cloud_init"] = std::move(documents);
    return request;
}

/// Makes the call; where the vendor cannot be reached, a person is asked whether to build the image
/// from packages, and a script has agreed beforehand.
Result<control::ClientReply> create(Session& session, const CreateOptions& options,
                                    Request& request) {
    const bool ask = is_interactive() && !options.yes;
    request.params["allow_build"] = !ask;
    std::vector<int> fds;
    if (request.image) fds.push_back(request.image.get());
    auto reply = session.call(control::method::vm_create, request.params, fds);
    if (reply || !ask || reply.error().code != ErrorCode::vendor_unreachable) return reply;
    session.display().clear_line();
    write_text(STDERR_FILENO, escape_for_terminal(reply.error().message) + "\n");
    const bool build =
        ask_yes_no("Build the image from Debian packages instead? It takes some minutes.", true);
    if (!build) return reply;
    request.params["allow_build"] = true;
    return session.call(control::method::vm_create, request.params, fds);
}

std::string success_text(const Json& vm, const std::string& password) {
    const auto name = text_at(vm, "name");
    const auto state = text_at(vm, "state");
    std::string text = name + " is " + (state == "stopped" ? "made" : state) + "\n";
    const auto address = vm_address(vm);
    if (!address.empty()) text += "  address: " + address + "\n";
    if (state != "stopped") text += "  ssh:     noxsup ssh " + name + "\n";
    if (!password.empty()) {
        text += "  login:   " + text_at(vm, "ssh.user") + " with password " + password +
                " (shown this once)\n";
    }
    if (text_at(vm, "accel") == "tcg") {
        text += "  accel:   tcg (emulation: slow, and no isolation boundary)\n";
    }
    const auto stages = stages_text(vm);
    if (!stages.empty()) text += "  stages:  " + stages + "\n";
    return escape_for_terminal(text);
}

}  // namespace

Result<int> run_verb(Session& session, const CreateOptions& options) {
    NOXSUP_TRY_VALUE(auto request, make_request(session, options));
    NOXSUP_TRY_VALUE(const auto reply, create(session, options, request));
    NOXSUP_TRY_VALUE(const auto vm, json_member<Json>(reply.result, "vm"));
    const auto password = text_at(reply.result, "password");
    auto document = vm_document(Json::array({vm}));
    if (!password.empty()) document.json["password"] = password;
    const auto* notes = detail::find_member(reply.result, "notes");
    if (notes != nullptr) document.json["notes"] = *notes;
    document.text = success_text(vm, password);
    return session.print(document);
}

}  // namespace noxsup::cli
