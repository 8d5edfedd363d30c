#include "supervisor/control/client.hpp"

#include <array>
#include <boost/asio.hpp>
#include <deque>
#include <map>
#include <utility>

#include "supervisor/base/async.hpp"
#include "supervisor/base/unix_socket.hpp"
#include "supervisor/control/methods.hpp"
#include "supervisor/control/rpc.hpp"

namespace noxsup::control {
namespace asio = boost::asio;

namespace {
constexpr std::size_t receive_size = std::size_t{64} << 10;

Error broken_connection(std::string why) {
    return {ErrorCode::supervisor_unreachable,
            "the connection to the supervisor broke: " + std::move(why)};
}
}  // namespace

/// Shared by the Client and its reader, which may outlive it by one step.
struct Client::State : std::enable_shared_from_this<Client::State> {
    State(asio::any_io_executor used, UniqueFd fd)
        : executor(std::move(used)), socket(executor, fd.release()), tasks(executor) {}

    struct Pending {
        Pending(const asio::any_io_executor& executor, CallListener heard)
            : done(executor, std::chrono::steady_clock::time_point::max()),
              listener(std::move(heard)) {}
        asio::steady_timer done;  ///< never fires; cancelled when `outcome` is set
        CallListener listener;
        std::optional<Result<ClientReply>> outcome;
    };

    asio::any_io_executor executor;
    asio::posix::stream_descriptor socket;
    TaskGroup tasks;
    LineFramer framer;
    std::deque<UniqueFd> received_fds;
    std::map<std::int64_t, std::shared_ptr<Pending>> calls;
    std::int64_t last_id = 0;
    std::optional<Error> broken;
    bool sending = false;
    ServerInfo server;

    asio::awaitable<void> read_lines();
    Result<> receive();
    Result<> take_line(std::string_view line);
    Result<> take_response(Response response);
    void take_notification(const Notification& notification);
    void complete(std::int64_t id, Result<ClientReply> outcome);
    void break_off(const Error& error);
    asio::awaitable<Result<>> send(std::string line, std::vector<int> fds);
    asio::awaitable<Result<ClientReply>> call(std::string name, Json params, std::vector<int> fds,
                                              CallListener listener);
    asio::awaitable<Result<>> greet();
    void send_cancel(std::int64_t id);
};

asio::awaitable<void> Client::State::read_lines() {
    const auto self = shared_from_this();
    while (!broken) {
        const auto [failure] = co_await socket.async_wait(asio::posix::stream_descriptor::wait_read,
                                                          asio::as_tuple(asio::use_awaitable));
        if (broken) co_return;
        if (failure) {
            break_off(broken_connection(failure.message()));
            co_return;
        }
        if (auto outcome = receive(); !outcome) break_off(outcome.error());
    }
}

Result<> Client::State::receive() {
    std::array<char, receive_size> buffer;
    auto received = receive_with_fds(socket.native_handle(), buffer);
    if (!received) return broken_connection(received.error().message);
    for (auto& fd : received->fds) received_fds.push_back(std::move(fd));
    if (received->would_block) return {};
    if (received->closed) return broken_connection("it ended");
    if (received_fds.size() > max_passed_fds) return broken_connection("too many descriptors");
    NOXSUP_TRY(framer.feed({buffer.data(), received->bytes}));
    while (auto line = framer.next()) NOXSUP_TRY(take_line(*line));
    return {};
}

Result<> Client::State::take_line(std::string_view line) {
    auto parsed = parse_message(line);
    if (const auto* bad = std::get_if<Malformed>(&parsed)) {
        return Error{ErrorCode::protocol_error, "the supervisor sent no message: " + bad->problem};
    }
    auto& message = std::get<Message>(parsed);
    if (auto* response = std::get_if<Response>(&message))
        return take_response(std::move(*response));
    if (auto* failed = std::get_if<ErrorResponse>(&message)) {
        // Without an id it is about the connection: refused, or our line was none.
        if (!failed->id.is_number_integer()) return std::move(failed->error);
        complete(failed->id.get<std::int64_t>(), std::move(failed->error));
        return {};
    }
    if (const auto* notification = std::get_if<Notification>(&message)) {
        take_notification(*notification);
    }
    return {};
}

Result<> Client::State::take_response(Response response) {
    ClientReply reply;
    reply.result = std::move(response.result);
    if (response.fds > received_fds.size()) {
        return Error{ErrorCode::protocol_error,
                     "the supervisor's answer names descriptors that did not come"};
    }
    for (std::size_t i = 0; i < response.fds; ++i) {
        reply.fds.push_back(std::move(received_fds.front()));
        received_fds.pop_front();
    }
    if (response.id.is_number_integer()) {
        complete(response.id.get<std::int64_t>(), std::move(reply));
    }
    return {};
}

void Client::State::take_notification(const Notification& notification) {
    const auto& params = notification.params;
    const auto id = json_member<std::int64_t>(params, "call");
    if (!id) return;
    const auto found = calls.find(*id);
    if (found == calls.end()) return;
    const auto pending = found->second;
    if (notification.method == "note") {
        const auto text = json_member<std::string>(params, "text");
        if (text && pending->listener.on_note) pending->listener.on_note(*text);
        return;
    }
    if (notification.method == "event") {
        if (pending->listener.on_event) pending->listener.on_event(params);
        return;
    }
    if (notification.method != "progress" || !pending->listener.on_progress) return;
    const auto stage = json_member<std::string>(params, "stage");
    const auto done = json_member_or<std::uint64_t>(params, "done", 0);
    const auto total = json_member_or<std::uint64_t>(params, "total", 0);
    const auto unit = json_member_or<std::string>(params, "unit", "");
    const auto seconds = json_member_or<double>(params, "seconds", -1);
    if (!stage || !done || !total || !unit || !seconds) return;
    Progress progress{*stage, *done, *total, *unit, std::nullopt};
    if (*seconds >= 0) progress.seconds = *seconds;
    pending->listener.on_progress(progress);
}

void Client::State::complete(std::int64_t id, Result<ClientReply> outcome) {
    const auto found = calls.find(id);
    if (found == calls.end()) return;
    found->second->outcome.emplace(std::move(outcome));
    found->second->done.cancel();
    calls.erase(found);
}

void Client::State::break_off(const Error& error) {
    if (broken) return;
    broken = error;
    boost::system::error_code ignored;
    socket.close(ignored);
    while (!calls.empty()) complete(calls.begin()->first, error);
}

asio::awaitable<Result<>> Client::State::send(std::string line, std::vector<int> fds) {
    const auto self = shared_from_this();
    // Lines must not mix: one sender at a time, the others try again shortly.
    while (sending && !broken) co_await sleep_for(std::chrono::milliseconds(1));
    sending = true;
    std::string_view rest = line;
    while (!rest.empty() && !broken) {
        const auto sent = send_with_fds(socket.native_handle(), rest, fds);
        if (!sent) {
            sending = false;
            // The reason may wait to be read: give the reader its turn before the call fails.
            co_await sleep_for(std::chrono::milliseconds(200));
            if (broken) co_return *broken;
            co_return broken_connection(sent.error().message);
        }
        if (*sent > 0) {
            fds.clear();
            rest.remove_prefix(*sent);
            continue;
        }
        co_await socket.async_wait(asio::posix::stream_descriptor::wait_write,
                                   asio::as_tuple(asio::use_awaitable));
    }
    sending = false;
    if (broken) co_return *broken;
    co_return Result<>();
}

asio::awaitable<Result<ClientReply>> Client::State::call(std::string name, Json params,
                                                         std::vector<int> fds,
                                                         CallListener listener) {
    const auto self = shared_from_this();
    if (broken) co_return *broken;
    if (params.is_null()) params = Json::object();
    const auto id = ++last_id;
    Request request{id, std::move(name), std::move(params), fds.size()};
    auto line = encode(request);
    if (line.size() > max_line_bytes || fds.size() > max_message_fds) {
        co_return Error{ErrorCode::invalid_argument,
                        "the request does not fit into a message of 1 MiB",
                        "pass a smaller cloud-init document"};
    }
    const auto pending = std::make_shared<Pending>(executor, std::move(listener));
    calls.emplace(id, pending);
    co_await asio::this_coro::throw_if_cancelled(false);
    auto sent = co_await send(std::move(line), std::move(fds));
    if (!sent) {
        calls.erase(id);
        co_return std::move(sent).error();
    }
    while (!pending->outcome) {
        co_await pending->done.async_wait(asio::as_tuple(asio::use_awaitable));
        const auto cancellation = co_await asio::this_coro::cancellation_state;
        if (!pending->outcome && cancellation.cancelled() != asio::cancellation_type::none) {
            calls.erase(id);
            send_cancel(id);
            co_return Error{ErrorCode::interrupted, "interrupted"};
        }
    }
    co_return std::move(*pending->outcome);
}

void Client::State::send_cancel(std::int64_t id) {
    if (broken) return;
    Json params = {{"call", id}};
    auto line = encode(Notification{std::string(method::cancel), std::move(params)});
    auto self = shared_from_this();
    auto task = [](std::shared_ptr<State> state, std::string text) -> asio::awaitable<void> {
        std::vector<int> none;
        // A connection that broke has cancelled the call already.
        auto sent = co_await state->send(std::move(text), std::move(none));
        (void)sent;
    };
    tasks.spawn("cancel a call", task(std::move(self), std::move(line)));
}

asio::awaitable<Result<>> Client::State::greet() {
    Json params = {{"protocol", protocol_version}, {"client", "noxsup " NOXSUP_VERSION}};
    std::vector<int> none;
    CallListener nobody;
    auto reply = co_await call(std::string(method::hello), std::move(params), std::move(none),
                               std::move(nobody));
    if (!reply) co_return std::move(reply).error();
    const auto& told = reply->result;
    const auto protocol = json_member<int>(told, "protocol");
    const auto pid = json_member_or<int>(told, "pid", 0);
    if (pid) server.pid = *pid;
    if (!protocol || *protocol != protocol_version) {
        co_return Error{ErrorCode::protocol_mismatch,
                        "the running supervisor speaks another protocol than this noxsup",
                        "end it (`kill " + std::to_string(server.pid) +
                            "`, or `systemctl restart noxsup` for the system's; the VMs go on), "
                            "then repeat the command"};
    }
    const auto version = json_member_or<std::string>(told, "server", "");
    const auto home = json_member_or<std::string>(told, "home", "");
    const auto scope = json_member_or<std::string>(told, "scope", "");
    if (version) server.version = *version;
    if (home) server.home = *home;
    if (scope) server.scope = *scope;
    co_return Result<>();
}

Client::Client(std::shared_ptr<State> state) : state_(std::move(state)) {}

Client::~Client() {
    state_->break_off(Error(ErrorCode::interrupted, "interrupted"));
}

asio::awaitable<Result<std::unique_ptr<Client>>> Client::connect(
    std::filesystem::path socket, std::chrono::milliseconds timeout) {
    auto fd = connect_unix(socket);
    if (!fd) co_return std::move(fd).error();
    const auto executor = co_await asio::this_coro::executor;
    auto state = std::make_shared<State>(executor, std::move(*fd));
    std::unique_ptr<Client> client(new Client(state));
    state->tasks.spawn("control client reader", state->read_lines());
    Error late(ErrorCode::supervisor_unreachable,
               "the supervisor at " + socket.string() + " does not answer",
               "it may hang: see its log, end it with kill, and repeat the command");
    auto greeting = state->greet();
    auto greeted = co_await with_deadline(std::move(greeting), timeout, std::move(late));
    if (!greeted) co_return std::move(greeted).error();
    co_return client;
}

asio::awaitable<Result<ClientReply>> Client::call(std::string method, Json params,
                                                  std::vector<int> fds, CallListener listener) {
    return state_->call(std::move(method), std::move(params), std::move(fds), std::move(listener));
}

void Client::cancel_calls() {
    for (const auto& [id, pending] : state_->calls) state_->send_cancel(id);
}

void Client::close() {
    state_->break_off(Error(ErrorCode::interrupted, "interrupted"));
}

const ServerInfo& Client::server() const {
    return state_->server;
}

}  // namespace noxsup::control
