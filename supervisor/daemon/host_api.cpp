// The methods about the host and the supervisor itself.

#include "supervisor/base/scope_exit.hpp"
#include "supervisor/daemon/doctor.hpp"
#include "supervisor/daemon/host_shutdown.hpp"
#include "supervisor/daemon/params.hpp"
#include "supervisor/daemon/services.hpp"

namespace noxsup::daemon {
namespace {

using control::CallContext;
using control::Reply;
using ReplyAwaitable = boost::asio::awaitable<Result<Reply>>;

/// systemd gives a unit 90 s unless it says otherwise.
constexpr std::uint32_t standard_stop_seconds = 85;
constexpr std::uint32_t max_stop_seconds = 3600;

ReplyAwaitable doctor(Services& services, CallContext& /*call*/, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto mend, parameter<bool>(params, "mend", false));
    const auto wanted = mend ? Mend::what_is_safe : Mend::nothing;
    const auto checks = co_await run_checks(services, wanted);
    auto list = Json::array();
    for (const auto& check : checks) list.push_back(to_json(check));
    co_return Reply(Json{{"checks", std::move(list)}});
}

Json stop_json(const GuestStop& stop) {
    if (stop.outcome) return {{"name", stop.name}, {"how", to_string(*stop.outcome)}};
    const auto& error = stop.outcome.error();
    return {{"name", stop.name},
            {"error",
             {{"code", error_code_name(error.code)},
              {"message", error.message},
              {"hint", error.hint}}}};
}

ReplyAwaitable stop_all(Services& services, CallContext& call, Json params) {
    const auto seconds =
        json_member_or<std::uint32_t>(params, "timeout_seconds", standard_stop_seconds);
    if (!seconds || *seconds == 0 || *seconds > max_stop_seconds) {
        co_return Error{ErrorCode::invalid_argument, "--timeout is out of range", "1s to 1h"};
    }
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(*seconds);
    services.keeper.suspend();
    const ScopeExit resume([&services] { services.keeper.resume(); });
    const auto vms = services.registry.all();
    for (const auto& vm : vms) co_await vm->settled();
    std::uint64_t count = 0;
    const auto on_stopped = [&](const GuestStop& /*stop*/) {
        if (!call.cancelled()) call.progress("stop", ++count, vms.size(), "");
    };
    call.progress("stop", 0, vms.size(), "");
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    // A host that shuts down ends the caller too, now and then before us; what has begun is ended.
    auto stopping = stop_guests(services.executor, vms, left, on_stopped);
    const auto stopped = co_await uncancellable(std::move(stopping));
    auto list = Json::array();
    for (const auto& stop : stopped) list.push_back(stop_json(stop));
    co_return Reply(Json{{"vms", std::move(list)}});
}

}  // namespace

void register_host_api(control::Server& server, Services& services) {
    register_methods(
        server, services,
        {{control::method::host_doctor, doctor}, {control::method::host_stop_guests, stop_all}});
    server.register_method(control::method::daemon_stop,
                           [&server](CallContext& /*call*/, Json /*params*/) -> ReplyAwaitable {
                               server.stop();
                               co_return Reply();
                           });
}

}  // namespace noxsup::daemon
