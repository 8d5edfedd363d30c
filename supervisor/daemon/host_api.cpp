// The methods about the host and the supervisor itself.

#include "supervisor/daemon/doctor.hpp"
#include "supervisor/daemon/services.hpp"

namespace noxsup::daemon {

void register_host_api(control::Server& server, Services& services) {
    server.register_method(
        control::method::host_doctor,
        [&services](control::CallContext& /*call*/,
                    Json /*params*/) -> boost::asio::awaitable<Result<control::Reply>> {
            const auto checks = co_await run_checks(services);
            auto list = Json::array();
            for (const auto& check : checks) list.push_back(to_json(check));
            co_return control::Reply(Json{{"checks", std::move(list)}});
        });
    server.register_method(
        control::method::daemon_stop,
        [&server](control::CallContext& /*call*/,
                  Json /*params*/) -> boost::asio::awaitable<Result<control::Reply>> {
            server.stop();
            co_return control::Reply();
        });
}

}  // namespace noxsup::daemon
