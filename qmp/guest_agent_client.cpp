#include "qmp/guest_agent_client.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <span>
#include <utility>

#include "qmp/base64.hpp"
#include "qmp/connection.hpp"
#include "supervisor/base/random.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/base/unix_socket.hpp"

namespace noxsup::qmp {

namespace asio = boost::asio;

namespace {

using ReplyWaiter = Waiter<Result<Reply>>;

/// Each connection counts from somewhere else, so that it does not take an answer to another one.
std::uint32_t random_seed() {
    std::uint32_t seed = 0;
    fill_random(std::as_writable_bytes(std::span(&seed, 1)));
    return seed;
}

Error refused(const std::string& name, const CommandError& refusal) {
    return {ErrorCode::guest_failed, name + ": " + escape_for_terminal(refusal.description)};
}

}  // namespace

struct GuestAgent::State final : Connection {
    State(const asio::any_io_executor& executor, UniqueFd socket, const GuestAgentOptions& given,
          std::uint32_t seed)
        : Connection(executor, std::move(socket)), options(given), session(seed) {}

    void on_bytes(std::string_view bytes) override {
        session.receive(bytes);
        drain();
    }
    void on_end(std::optional<Error> failure) override {
        if (failure) {
            session.close(std::move(*failure));
        } else {
            session.end_of_stream();
        }
        drain();
    }
    Outgoing output() override { return session.output(); }
    void sent(std::size_t bytes) override { session.sent(bytes); }

    void drain();
    void close();

    struct Submitted;
    static asio::awaitable<Result<Reply>> request(std::shared_ptr<State> state, Request request);
    static asio::awaitable<Result<Json>> execute(std::shared_ptr<State> state, Request command);
    static asio::awaitable<Result<>> ping(std::shared_ptr<State> state);
    static asio::awaitable<Result<>> shutdown(std::shared_ptr<State> state);

    GuestAgentOptions options;
    AgentSession session;
    std::map<CommandId, ReplyWaiter*> replies;
};

void GuestAgent::State::drain() {
    while (auto step = session.next()) {
        if (auto* answer = std::get_if<AgentAnswer>(&*step)) {
            const auto found = replies.find(answer->id);
            if (found != replies.end()) found->second->complete(std::move(answer->reply));
        } else {
            shut();
        }
    }
}

void GuestAgent::State::close() {
    session.close(
        Error{ErrorCode::interrupted, "the guest agent's connection was closed on our side"});
    drain();
}

/// A command on its way: registered as long as this lives, forgotten when it goes without an
/// answer.
struct GuestAgent::State::Submitted {
    Submitted(std::shared_ptr<State> used, Request request)
        : state(std::move(used)),
          waiter(state->executor()),
          id(state->session.submit(std::move(request))) {
        state->replies.emplace(id, &waiter);
    }
    Submitted(const Submitted&) = delete;
    Submitted& operator=(const Submitted&) = delete;
    ~Submitted() {
        state->replies.erase(id);
        if (waiter.completed()) return;
        state->session.forget(id);
        // Others in the queue go on, after a new synchronisation.
        state->flush();
    }

    std::shared_ptr<State> state;
    ReplyWaiter waiter;
    CommandId id;
};

asio::awaitable<Result<Reply>> GuestAgent::State::request(std::shared_ptr<State> state,
                                                          Request request) {
    const auto name = request.name;
    const auto deadline = request.deadline.value_or(state->options.command_deadline);
    Submitted command(state, std::move(request));
    auto& waiter = command.waiter;
    waiter.timer().expires_after(deadline);
    state->flush();
    // On a connection that has ended the answer is there already, and no reader will fetch it.
    if (state->session.ended()) state->drain();
    bool cancelled = false;
    if (!waiter.completed()) {
        const auto [failure] =
            co_await waiter.timer().async_wait(asio::as_tuple(asio::use_awaitable));
        cancelled = static_cast<bool>(failure);
    }
    if (waiter.completed()) co_return waiter.take();
    if (cancelled) co_return Error{ErrorCode::interrupted, "interrupted"};
    co_return Error{ErrorCode::timeout, name + ": no guest agent answered in time",
                    "install and start qemu-guest-agent in the guest"};
}

asio::awaitable<Result<Json>> GuestAgent::State::execute(std::shared_ptr<State> state,
                                                         Request command) {
    const auto name = command.name;
    auto reply = co_await request(std::move(state), std::move(command));
    if (!reply) co_return std::move(reply).error();
    if (reply->error) co_return refused(name, *reply->error);
    co_return std::move(reply->value);
}

asio::awaitable<Result<>> GuestAgent::State::ping(std::shared_ptr<State> state) {
    state->session.resync();
    Request command("guest-ping");
    NOXSUP_CO_TRY(co_await execute(std::move(state), std::move(command)));
    co_return Result<>();
}

asio::awaitable<Result<>> GuestAgent::State::shutdown(std::shared_ptr<State> state) {
    // Silence is consent here, so an agent has to prove first that it is there.
    NOXSUP_CO_TRY(co_await ping(state));
    Request command("guest-shutdown");
    command.deadline = state->options.shutdown_patience;
    auto reply = co_await request(state, std::move(command));
    if (reply) {
        if (reply->error) co_return refused("guest-shutdown", *reply->error);
        co_return Result<>();
    }
    const auto code = reply.error().code;
    // The port is closed by a QEMU that ends because the guest has shut down.
    if (code == ErrorCode::timeout || code == ErrorCode::guest_failed) co_return Result<>();
    co_return std::move(reply).error();
}

GuestAgent::GuestAgent(const asio::any_io_executor& executor, UniqueFd socket,
                       GuestAgentOptions options)
    : state_(std::make_shared<State>(executor, std::move(socket), options, random_seed())) {
    state_->start();
}

GuestAgent::~GuestAgent() {
    state_->close();
}

Result<std::unique_ptr<GuestAgent>> GuestAgent::open(const asio::any_io_executor& executor,
                                                     const std::filesystem::path& path,
                                                     GuestAgentOptions options) {
    auto socket = connect_unix(path);
    if (!socket) {
        auto error = std::move(socket).error();
        error.code = ErrorCode::qemu_failed;
        return error;
    }
    try {
        return std::make_unique<GuestAgent>(executor, std::move(*socket), options);
    } catch (const boost::system::system_error& e) {
        return Error{ErrorCode::io_error, "watch " + path.string() + ": " + e.what()};
    }
}

asio::awaitable<Result<Json>> GuestAgent::execute(Request request) {
    return State::execute(state_, std::move(request));
}

asio::awaitable<Result<>> GuestAgent::ping() {
    return State::ping(state_);
}

asio::awaitable<Result<>> GuestAgent::shutdown() {
    return State::shutdown(state_);
}

namespace {

asio::awaitable<Result<std::vector<GuestInterface>>> interfaces_of(
    asio::awaitable<Result<Json>> reply) {
    NOXSUP_CO_TRY_VALUE(const auto value, co_await std::move(reply));
    co_return parse_guest_interfaces(value);
}

asio::awaitable<Result<std::int64_t>> pid_of(asio::awaitable<Result<Json>> reply) {
    NOXSUP_CO_TRY_VALUE(const auto value, co_await std::move(reply));
    co_return json_member<std::int64_t>(value, "pid");
}

asio::awaitable<Result<GuestExecStatus>> status_of(asio::awaitable<Result<Json>> reply) {
    NOXSUP_CO_TRY_VALUE(const auto value, co_await std::move(reply));
    co_return parse_guest_exec_status(value);
}

}  // namespace

asio::awaitable<Result<std::vector<GuestInterface>>> GuestAgent::network_interfaces() {
    return interfaces_of(execute(Request("guest-network-get-interfaces")));
}

asio::awaitable<Result<std::int64_t>> GuestAgent::exec(GuestProgram program) {
    Json arguments{{"path", std::move(program.path)}, {"capture-output", program.capture_output}};
    if (!program.arguments.empty()) arguments["arg"] = std::move(program.arguments);
    if (!program.environment.empty()) arguments["env"] = std::move(program.environment);
    if (!program.input.empty()) arguments["input-data"] = encode_base64(program.input);
    return pid_of(execute(Request("guest-exec", std::move(arguments))));
}

asio::awaitable<Result<GuestExecStatus>> GuestAgent::exec_status(std::int64_t pid) {
    return status_of(execute(Request("guest-exec-status", Json{{"pid", pid}})));
}

void GuestAgent::close() {
    const auto state = state_;
    state->close();
}

bool GuestAgent::is_open() const {
    return state_->is_open();
}

}  // namespace noxsup::qmp
