#include "supervisor/daemon/create_request.hpp"

#include <algorithm>

#include "supervisor/base/text.hpp"
#include "supervisor/daemon/params.hpp"
#include "supervisor/daemon/resources.hpp"
#include "supervisor/spec/quantity.hpp"

namespace noxsup::daemon {
namespace {

using Strings = std::vector<std::string>;

/// A broken parameter is the client's fault, not the protocol's.
Error as_argument(Error error) {
    if (error.code == ErrorCode::protocol_error) error.code = ErrorCode::invalid_argument;
    return error;
}

Result<> parse_resources(const Json& params, const state::Config& config,
                         const launch::HostFacts& facts, std::uint64_t disk_free_bytes,
                         CreateRequest& request) {
    NOXSUP_TRY_VALUE(const auto cpus_text, parameter<std::string>(params, "cpus", config.cpus));
    NOXSUP_TRY_VALUE(request.cpus, parse_host_cpus(cpus_text, facts));
    NOXSUP_TRY_VALUE(const auto ram_text, parameter<std::string>(params, "ram", config.ram));
    NOXSUP_TRY_VALUE(request.memory_bytes, parse_host_memory(ram_text, facts));
    if (request.memory_bytes > facts.memory_available_bytes) {
        return Error{ErrorCode::no_memory,
                     "--ram " + ram_text + ": this host has " +
                         format_bytes(facts.memory_available_bytes) + " available",
                     "ask for less, or stop other VMs"};
    }
    NOXSUP_TRY_VALUE(const auto disk_text, parameter<std::string>(params, "disk", config.disk));
    NOXSUP_TRY_VALUE(const auto disk,
                     spec::parse_size(disk_text, spec::SizeUnit::gibibytes, "--disk"));
    request.disk_bytes =
        spec::resolve_size(disk, disk_free_bytes) / spec::mebibyte * spec::mebibyte;
    if (request.disk_bytes == 0 || request.disk_bytes > spec::max_disk_bytes) {
        return Error{ErrorCode::invalid_size, "--disk " + disk_text + " is out of range"};
    }
    return {};
}

Result<> parse_seed(const Json& params, const state::Config& config, CreateRequest& request) {
    NOXSUP_TRY_VALUE(request.user, parameter<std::string>(params, "user", config.user));
    NOXSUP_TRY(imaging::check_user_name(request.user));
    NOXSUP_TRY_VALUE(request.ssh_keys, json_member_or<Strings>(params, "ssh_keys", Strings()));
    NOXSUP_TRY_VALUE(const auto documents,
                     json_member_or<Json>(params, "cloud_init", Json::array()));
    if (!documents.is_array())
        return Error{ErrorCode::invalid_argument, "cloud_init is not a list"};
    for (const auto& document : documents) {
        NOXSUP_TRY_VALUE(auto name, json_member<std::string>(document, "name"));
        NOXSUP_TRY_VALUE(auto content, json_member<std::string>(document, "text"));
        request.documents.push_back({std::move(name), std::move(content)});
    }
    return imaging::check_user_documents(request.documents);
}

bool is_reached_from_host(const CreateRequest& request) {
    return std::ranges::any_of(request.networks, [](const NetworkWish& wish) {
        return wish.mode != spec::NetworkMode::macvtap;
    });
}

/// How far a VM is to come where the call does not say.
const char* usual_goal(const CreateRequest& request) {
    return is_reached_from_host(request) ? "ssh" : "ip";
}

Result<> parse_choices(const Json& params, const state::Config& config, CreateRequest& request) {
    NOXSUP_TRY_VALUE(const auto accel, parameter<std::string>(params, "accel", config.accel));
    NOXSUP_TRY_VALUE(request.accel, spec::from_string<spec::Accel>(accel));
    if (config.accel == "kvm" && request.accel != spec::Accel::kvm) {
        return Error{ErrorCode::invalid_argument,
                     "--accel " + accel + " is forbidden by accel: kvm in config.json"};
    }
    NOXSUP_TRY_VALUE(const auto restart, parameter<std::string>(params, "restart", config.restart));
    NOXSUP_TRY_VALUE(request.restart, spec::from_string<spec::RestartPolicy>(restart));
    NOXSUP_TRY_VALUE(request.autostart.mode, spec::from_string<spec::Autostart>(config.autostart));
    if (params.contains("autostart")) {
        NOXSUP_TRY_VALUE(const bool wanted, json_member<bool>(params, "autostart"));
        request.autostart.mode = wanted ? spec::Autostart::on : spec::Autostart::off;
    }
    NOXSUP_TRY_VALUE(request.start, json_member_or<bool>(params, "start", true));
    NOXSUP_TRY_VALUE(request.stock, json_member_or<bool>(params, "stock", false));
    NOXSUP_TRY_VALUE(request.cold, json_member_or<bool>(params, "cold", false));
    NOXSUP_TRY_VALUE(request.password, json_member_or<bool>(params, "password", false));
    NOXSUP_TRY_VALUE(request.allow_build, json_member_or<bool>(params, "allow_build", false));
    NOXSUP_TRY_VALUE(const auto boot, parameter<std::string>(params, "boot", "auto"));
    if (boot != "auto") {
        NOXSUP_TRY_VALUE(request.boot, spec::from_string<spec::BootMode>(boot));
    }
    NOXSUP_TRY_VALUE(
        const auto wait,
        parameter<std::string>(params, "wait", request.start ? usual_goal(request) : ""));
    if (!wait.empty()) {
        NOXSUP_TRY_VALUE(request.wait, vm::wait_for_from_string(wait));
        if (*request.wait == vm::WaitFor::stopped) {
            return Error{ErrorCode::invalid_argument, "--wait stopped makes no sense for a new VM"};
        }
        const bool by_ssh = *request.wait > vm::WaitFor::ip;
        if (by_ssh && !is_reached_from_host(request)) {
            return Error{ErrorCode::invalid_argument,
                         "--wait " + wait + ": the host does not reach a guest over a macvtap",
                         "use --wait ip"};
        }
    }
    NOXSUP_TRY_VALUE(const auto timeout,
                     json_member_or<std::uint32_t>(params, "timeout_seconds", 0));
    if (timeout != 0) request.timeout = std::chrono::seconds(timeout);
    return {};
}

Result<> parse_image(const Json& params, const state::Config& config, CreateRequest& request) {
    NOXSUP_TRY_VALUE(request.image, parameter<std::string>(params, "image", ""));
    NOXSUP_TRY_VALUE(request.image_url, parameter<std::string>(params, "image_url", ""));
    NOXSUP_TRY_VALUE(request.image_source, parameter<std::string>(params, "image_source", ""));
    NOXSUP_TRY_VALUE(const auto descriptor, json_member_or<std::int32_t>(params, "image_fd", -1));
    if (descriptor >= 0) request.image_fd = static_cast<std::size_t>(descriptor);
    const bool own = !request.image.empty() || !request.image_url.empty() || request.image_fd;
    NOXSUP_TRY_VALUE(request.os, parameter<std::string>(params, "os", own ? "" : config.os));
    NOXSUP_TRY_VALUE(
        const auto arch,
        parameter<std::string>(params, "arch", std::string(to_string(launch::native_arch()))));
    NOXSUP_TRY_VALUE(request.arch, spec::from_string<spec::Arch>(arch));
    request.arch_given = params.contains("arch");
    return {};
}

}  // namespace

Result<CreateRequest> parse_create_request(const Json& params, const state::Config& config,
                                           const launch::HostFacts& facts,
                                           std::uint64_t disk_free_bytes) {
    CreateRequest request;
    NOXSUP_TRY_VALUE(request.name, parameter<std::string>(params, "name", ""));
    NOXSUP_TRY(spec::check_vm_name(request.name));
    NOXSUP_TRY(parse_resources(params, config, facts, disk_free_bytes, request));
    auto rest = parse_image(params, config, request);
    if (rest) {
        NOXSUP_TRY_VALUE(request.networks, parse_network_wishes(params, config));
    }
    if (rest) rest = parse_choices(params, config, request);
    if (rest) rest = parse_seed(params, config, request);
    if (!rest) return as_argument(std::move(rest).error());
    return request;
}

const char* why_no_template(const CreateRequest& request) {
    if (!request.documents.empty()) return "cloud-init's documents are for a boot";
    if (request.stock) return "--stock is a boot as the vendor made it";
    if (request.boot) return "--boot is about a boot";
    return nullptr;
}

}  // namespace noxsup::daemon
