#include "qmp/client.hpp"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <list>
#include <map>
#include <set>
#include <utility>

#include "qmp/connection.hpp"
#include "supervisor/base/unix_socket.hpp"

namespace noxsup::qmp {

namespace asio = boost::asio;

namespace {

using ReplyWaiter = Waiter<Result<Reply>>;
using ReadyWaiter = Waiter<Result<>>;
using ClosedWaiter = Waiter<Error>;

Error interrupted() {
    return {ErrorCode::interrupted, "interrupted"};
}

Error too_many_descriptors(const Request& request) {
    return {ErrorCode::invalid_argument, "QMP " + request.name + ": too many descriptors at once"};
}

/// Removes its entry from a container when the waiting coroutine ends, however it ends.
template <class Container>
class Registration {
  public:
    using Key = typename Container::key_type;
    Registration(Container& container, Key key) : container_(container), key_(key) {}
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;
    ~Registration() { container_.erase(key_); }

  private:
    Container& container_;
    Key key_;
};

}  // namespace

struct Client::State final : Connection {
    State(const asio::any_io_executor& executor, UniqueFd socket, const ClientOptions& given)
        : Connection(executor, std::move(socket)), options(given), session(given.max_line) {}

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

    void send();
    void drain();
    void take(Event event);
    void take(Answer answer);
    void end(const Error& why);
    void close();
    void deliver_held();

    struct Submitted;
    static asio::awaitable<Result<>> wait_ready(std::shared_ptr<State> state,
                                                std::chrono::steady_clock::time_point at_most);
    static asio::awaitable<Result<Reply>> wait(Submitted& command);
    static asio::awaitable<Result<Reply>> request(std::shared_ptr<State> state, Request request);
    static asio::awaitable<Result<std::vector<Reply>>> request_all(std::shared_ptr<State> state,
                                                                   std::vector<Request> requests);
    static asio::awaitable<Result<Json>> execute(std::shared_ptr<State> state, Request command);
    static asio::awaitable<Error> wait_closed(std::shared_ptr<State> state);

    ClientOptions options;
    Session session;
    std::chrono::steady_clock::time_point connected = std::chrono::steady_clock::now();
    std::map<CommandId, ReplyWaiter*> replies;
    std::set<ReadyWaiter*> ready;
    std::set<ClosedWaiter*> closed;
    std::optional<Error> why_closed;
    /// Shared, so that a handler which replaces or drops itself goes on to its end.
    std::shared_ptr<EventHandler> on_event;
    ClosedHandler on_closed;
    std::deque<Event> held;
    std::uint64_t events = 0;  ///< that came at all
    std::size_t lost = 0;
};

void Client::State::send() {
    flush();
    // On a connection that has ended the answer is there already, and no reader will fetch it.
    if (session.ended()) drain();
}

void Client::State::drain() {
    while (auto step = session.next()) {
        if (auto* event = std::get_if<Event>(&*step)) {
            take(std::move(*event));
        } else if (auto* answer = std::get_if<Answer>(&*step)) {
            take(std::move(*answer));
        } else if (const auto* ended = std::get_if<Ended>(&*step)) {
            end(ended->why);
        } else {
            for (auto* waiter : ready) waiter->complete({});
        }
    }
}

void Client::State::take(Event event) {
    ++events;
    if (on_event && held.empty()) {
        const auto handler = on_event;
        (*handler)(event);
        return;
    }
    if (held.size() >= options.max_held_events) {
        ++lost;
        if (held.empty()) return;
        held.pop_front();
    }
    held.push_back(std::move(event));
}

void Client::State::take(Answer answer) {
    const auto found = replies.find(answer.id);
    if (found != replies.end()) found->second->complete(std::move(answer.reply));
}

void Client::State::end(const Error& why) {
    why_closed = why;
    shut();
    for (auto* waiter : ready) waiter->complete(why);
    for (auto* waiter : closed) waiter->complete(why);
    // Taken out first: the handler may destroy the client, and must not be called twice.
    if (const auto handler = std::exchange(on_closed, {})) handler(why);
}

void Client::State::close() {
    on_closed = {};
    on_event.reset();
    session.close(Error{ErrorCode::interrupted, "the QMP connection was closed on our side"});
    drain();
}

void Client::State::deliver_held() {
    while (on_event && !held.empty()) {
        const auto handler = on_event;
        const auto event = std::move(held.front());
        held.pop_front();
        (*handler)(event);
    }
}

/// A command on its way: registered as long as this lives, forgotten when it goes without an
/// answer.
struct Client::State::Submitted {
    Submitted(std::shared_ptr<State> used, Request request)
        : state(std::move(used)),
          name(request.name),
          expiry(std::chrono::steady_clock::now() +
                 request.deadline.value_or(state->options.command_deadline)),
          waiter(state->executor()),
          id(state->session.submit(std::move(request))) {
        state->replies.emplace(id, &waiter);
    }
    Submitted(const Submitted&) = delete;
    Submitted& operator=(const Submitted&) = delete;
    ~Submitted() {
        state->replies.erase(id);
        if (!waiter.completed()) state->session.forget(id);
    }

    std::shared_ptr<State> state;
    std::string name;
    std::chrono::steady_clock::time_point expiry;
    ReplyWaiter waiter;
    CommandId id;
};

asio::awaitable<Result<>> Client::State::wait_ready(std::shared_ptr<State> state,
                                                    std::chrono::steady_clock::time_point at_most) {
    if (state->why_closed) co_return *state->why_closed;
    if (state->session.ready()) co_return Result<>();
    ReadyWaiter waiter(state->executor());
    const Registration registration(state->ready, *state->ready.insert(&waiter).first);
    waiter.timer().expires_at(
        std::min(at_most, state->connected + state->options.greeting_deadline));
    const auto [failure] = co_await waiter.timer().async_wait(asio::as_tuple(asio::use_awaitable));
    if (waiter.completed()) co_return waiter.take();
    if (failure) co_return interrupted();
    co_return Error{ErrorCode::timeout,
                    state->session.greeting() == nullptr
                        ? "QEMU did not greet on its QMP socket in time"
                        : "QEMU did not answer qmp_capabilities in time",
                    "QEMU is stopped, overloaded, or another client holds its QMP socket"};
}

asio::awaitable<Result<Reply>> Client::State::wait(Submitted& command) {
    auto& waiter = command.waiter;
    if (!waiter.completed() && !command.state->session.ready()) {
        auto ready = co_await wait_ready(command.state, command.expiry);
        if (!ready && !waiter.completed()) {
            co_return std::move(ready).error().context("QMP " + command.name);
        }
    }
    if (waiter.completed()) co_return waiter.take();
    waiter.timer().expires_at(command.expiry);
    const auto [failure] = co_await waiter.timer().async_wait(asio::as_tuple(asio::use_awaitable));
    if (waiter.completed()) co_return waiter.take();
    if (failure) co_return interrupted();
    co_return Error{ErrorCode::timeout, "QMP " + command.name + ": QEMU did not answer in time"};
}

asio::awaitable<Result<Reply>> Client::State::request(std::shared_ptr<State> state,
                                                      Request request) {
    if (request.fds.size() > max_passed_fds) co_return too_many_descriptors(request);
    Submitted command(state, std::move(request));
    state->send();
    co_return co_await wait(command);
}

asio::awaitable<Result<std::vector<Reply>>> Client::State::request_all(
    std::shared_ptr<State> state, std::vector<Request> requests) {
    std::list<Submitted> commands;
    for (auto& request : requests) {
        if (request.fds.size() > max_passed_fds) co_return too_many_descriptors(request);
        commands.emplace_back(state, std::move(request));
    }
    state->send();
    std::vector<Reply> replies;
    for (auto& command : commands) {
        NOXSUP_CO_TRY_VALUE(auto reply, co_await wait(command));
        replies.push_back(std::move(reply));
    }
    co_return replies;
}

asio::awaitable<Result<Json>> Client::State::execute(std::shared_ptr<State> state,
                                                     Request command) {
    const auto name = command.name;
    auto reply = co_await request(std::move(state), std::move(command));
    if (!reply) co_return std::move(reply).error();
    if (reply->error) co_return to_error(name, *reply->error);
    co_return std::move(reply->value);
}

asio::awaitable<Error> Client::State::wait_closed(std::shared_ptr<State> state) {
    if (state->why_closed) co_return *state->why_closed;
    ClosedWaiter waiter(state->executor());
    const Registration registration(state->closed, *state->closed.insert(&waiter).first);
    waiter.timer().expires_at(asio::steady_timer::time_point::max());
    co_await waiter.timer().async_wait(asio::as_tuple(asio::use_awaitable));
    if (waiter.completed()) co_return waiter.take();
    co_return interrupted();
}

Client::Client(const asio::any_io_executor& executor, UniqueFd socket, ClientOptions options)
    : state_(std::make_shared<State>(executor, std::move(socket), options)) {
    state_->start();
}

Client::~Client() {
    state_->close();
}

Result<std::unique_ptr<Client>> Client::open(const asio::any_io_executor& executor,
                                             const std::filesystem::path& path,
                                             ClientOptions options) {
    auto socket = connect_unix(path);
    if (!socket) {
        auto error = std::move(socket).error();
        error.code = ErrorCode::qemu_failed;
        return error;
    }
    try {
        return std::make_unique<Client>(executor, std::move(*socket), options);
    } catch (const boost::system::system_error& e) {
        return Error{ErrorCode::io_error, "watch " + path.string() + ": " + e.what()};
    }
}

asio::awaitable<Result<std::unique_ptr<Client>>> Client::connect(std::filesystem::path path,
                                                                 ClientOptions options) {
    const auto executor = co_await asio::this_coro::executor;
    NOXSUP_CO_TRY_VALUE(auto client, open(executor, path, options));
    auto ready = co_await client->wait_ready();
    if (!ready) co_return std::move(ready).error().context(path.string());
    co_return client;
}

asio::awaitable<Result<>> Client::wait_ready() {
    return State::wait_ready(state_, std::chrono::steady_clock::time_point::max());
}

asio::awaitable<Result<Json>> Client::execute(Request request) {
    return State::execute(state_, std::move(request));
}

asio::awaitable<Result<Reply>> Client::request(Request request) {
    return State::request(state_, std::move(request));
}

asio::awaitable<Result<std::vector<Reply>>> Client::request_all(std::vector<Request> requests) {
    return State::request_all(state_, std::move(requests));
}

void Client::set_event_handler(EventHandler handler) {
    const auto state = state_;
    state->on_event = handler ? std::make_shared<EventHandler>(std::move(handler)) : nullptr;
    state->deliver_held();
}

std::vector<Event> Client::take_held_events(std::uint64_t count) {
    auto& held = state_->held;
    const auto first_held = state_->events - held.size();
    std::vector<Event> taken;
    for (auto number = first_held; number < count && !held.empty(); ++number) {
        taken.push_back(std::move(held.front()));
        held.pop_front();
    }
    return taken;
}

std::size_t Client::lost_events() const {
    return state_->lost;
}

void Client::set_closed_handler(ClosedHandler handler) {
    state_->on_closed = std::move(handler);
}

asio::awaitable<Error> Client::wait_closed() {
    return State::wait_closed(state_);
}

void Client::close() {
    const auto state = state_;
    state->close();
}

bool Client::is_open() const {
    return state_->is_open();
}

const Greeting* Client::greeting() const {
    return state_->session.greeting();
}

const Session& Client::session() const {
    return state_->session;
}

}  // namespace noxsup::qmp
