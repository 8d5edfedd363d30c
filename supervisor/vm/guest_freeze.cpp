#include "supervisor/vm/guest_freeze.hpp"

#include "qmp/guest_agent_client.hpp"
#include "supervisor/base/async.hpp"

namespace noxsup::vm {
namespace {

/// Whether there is an agent shows at once; a busy guest takes longer to write everything out.
constexpr std::chrono::seconds presence_limit{3};
constexpr std::chrono::seconds freeze_limit{30};
constexpr std::chrono::seconds thaw_limit{5};
constexpr int thaw_tries = 3;

boost::asio::awaitable<Result<>> ask(const boost::asio::any_io_executor& executor,
                                     const std::filesystem::path& socket, const char* command,
                                     std::chrono::seconds limit) {
    qmp::GuestAgentOptions options;
    options.command_deadline = presence_limit;
    NOXSUP_CO_TRY_VALUE(const auto agent, qmp::GuestAgent::open(executor, socket, options));
    NOXSUP_CO_TRY(co_await agent->ping());
    qmp::Request request(command);
    request.deadline = limit;
    NOXSUP_CO_TRY(co_await agent->execute(std::move(request)));
    co_return Result<>();
}

}  // namespace

boost::asio::awaitable<Result<>> freeze_guest(boost::asio::any_io_executor executor,
                                              std::filesystem::path agent) {
    auto frozen = co_await ask(executor, agent, "guest-fsfreeze-freeze", freeze_limit);
    if (frozen) co_return frozen;
    // It may have begun, or be about to; without an agent there is nobody to ask again.
    const bool absent = frozen.error().code == ErrorCode::timeout &&
                        frozen.error().message.find("guest-ping") != std::string::npos;
    if (!absent) co_await thaw_guest(executor, agent);
    co_return frozen;
}

boost::asio::awaitable<Result<>> thaw_guest(boost::asio::any_io_executor executor,
                                            std::filesystem::path agent) {
    Result<> thawed;
    for (int tries = 0; tries < thaw_tries; ++tries) {
        thawed = co_await ask(executor, agent, "guest-fsfreeze-thaw", thaw_limit);
        if (thawed) break;
    }
    co_return thawed;
}

}  // namespace noxsup::vm
