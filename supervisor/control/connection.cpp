#include "supervisor/control/connection.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio.hpp>
#include <utility>

#include "supervisor/base/log.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::control {
namespace {

namespace asio = boost::asio;

constexpr std::chrono::seconds drain_time{2};
/// Beyond this many unsent bytes notes and stage ends are left out: they are for people to read.
constexpr std::size_t max_unsent_notes = std::size_t{256} << 10;
/// Beyond this many unsent bytes events wait with those who send them.
constexpr std::size_t max_unsent_events = std::size_t{64} << 10;
constexpr std::size_t receive_size = std::size_t{64} << 10;

/// Methods that change nothing: who calls them is of no interest later on.
constexpr std::array queries{method::vm_list,     method::vm_status,       method::vm_wait,
                             method::vm_log,      method::vm_ssh,          method::image_list,
                             method::host_doctor, method::events_subscribe};

/// Who asked for what, for whoever reads the log afterwards.
void log_call(std::string_view name, const PeerCredentials& peer) {
    const bool query = std::ranges::find(queries, name) != queries.end();
    log(query ? LogLevel::debug : LogLevel::info, std::string(name) + " by uid " +
                                                      std::to_string(peer.uid) + " pid " +
                                                      std::to_string(peer.pid));
}

Error wrong_version(std::int64_t theirs) {
    return {ErrorCode::protocol_mismatch,
            "the client speaks protocol " + std::to_string(theirs) + ", this supervisor " +
                std::to_string(protocol_version),
            "end the old supervisor (`kill " + std::to_string(::getpid()) +
                "`, or `systemctl restart noxsup` for the system's; the VMs go on), then repeat "
                "the command"};
}

}  // namespace

class Connection::Call final : public CallContext {
  public:
    Call(Connection& connection, CallId id, std::vector<UniqueFd> fds)
        : task(connection.executor_),
          connection_(connection),
          id_(std::move(id)),
          fds_(std::move(fds)) {}

    [[nodiscard]] const PeerCredentials& peer() const override { return connection_.peer_; }

    void progress(std::string_view stage, std::uint64_t done, std::uint64_t total,
                  std::string_view unit) override {
        auto params = about(stage, done, total, unit);
        connection_.latest_progress_[{id_, std::string(stage)}] = std::move(params);
        connection_.changed_.cancel();
    }

    void stage_ended(std::string_view stage, double seconds) override {
        connection_.latest_progress_.erase({id_, std::string(stage)});
        auto params = about(stage, 0, 0, "");
        params["seconds"] = seconds;
        connection_.push_notification("progress", std::move(params));
    }

    void note(std::string_view text) override {
        Json params = {{"call", id_}, {"text", text}};
        connection_.push_notification("note", std::move(params));
    }

    asio::awaitable<bool> send_event(Json params) override {
        params["call"] = id_;
        return connection_.push_event(*this, std::move(params));
    }

    void stand_by() override { stands_by_ = true; }
    [[nodiscard]] bool stands_by() const { return stands_by_; }

    Result<UniqueFd> take_fd(std::size_t index) override {
        if (index >= fds_.size() || !fds_[index]) {
            return Error{ErrorCode::invalid_argument,
                         "descriptor " + std::to_string(index) + " did not come with the call"};
        }
        return std::move(fds_[index]);
    }

    [[nodiscard]] bool cancelled() const override { return cancelled_; }

    void cancel() {
        cancelled_ = true;
        task.cancel();
    }

    [[nodiscard]] const CallId& id() const { return id_; }

    TaskGroup task;

  private:
    [[nodiscard]] Json about(std::string_view stage, std::uint64_t done, std::uint64_t total,
                             std::string_view unit) const {
        return {{"call", id_}, {"stage", stage}, {"done", done}, {"total", total}, {"unit", unit}};
    }

    Connection& connection_;
    CallId id_;
    std::vector<UniqueFd> fds_;
    bool cancelled_ = false;
    bool stands_by_ = false;
};

Connection::Connection(asio::any_io_executor executor, UniqueFd socket, PeerCredentials peer,
                       const ServerOptions& options, const MethodTable& methods)
    : executor_(std::move(executor)),
      socket_(executor_, socket.release()),
      peer_(peer),
      options_(options),
      methods_(methods),
      tasks_(executor_),
      changed_(executor_, Clock::time_point::max()),
      room_(executor_, Clock::time_point::max()),
      deadline_(executor_) {}

asio::awaitable<void> Connection::run() {
    const auto self = shared_from_this();
    // The server ends connections by begin_close(); cutting a coroutine would lose replies.
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    tasks_.spawn("control connection writer", write_lines());
    tasks_.spawn("control connection deadlines", watch_deadlines());
    co_await read_lines();
    closing_ = true;
    cancel_calls();
    while (!calls_.empty()) {
        co_await changed_.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    draining_ = true;
    drain_until_ = Clock::now() + drain_time;
    deadline_.cancel();
    changed_.cancel();
    while (!ended_) co_await changed_.async_wait(asio::as_tuple(asio::use_awaitable));
    deadline_.cancel();
    co_await tasks_.join();
    received_fds_.clear();
    boost::system::error_code ignored;
    socket_.close(ignored);
}

void Connection::begin_close() {
    closing_ = true;
    socket_.cancel();
}

asio::awaitable<void> Connection::read_lines() {
    while (!closing_) {
        const auto [failure] = co_await socket_.async_wait(
            asio::posix::stream_descriptor::wait_read, asio::as_tuple(asio::use_awaitable));
        if (closing_ || broken_) co_return;
        if (failure == asio::error::operation_aborted) continue;
        if (failure) co_return;
        const bool go_on = receive();
        if (!go_on) co_return;
    }
}

bool Connection::receive() {
    std::array<char, receive_size> buffer;
    auto received = receive_with_fds(socket_.native_handle(), buffer);
    if (!received) return false;
    for (auto& fd : received->fds) received_fds_.push_back(std::move(fd));
    if (received->would_block) return true;
    if (received->closed || received_fds_.size() > max_passed_fds) return false;
    last_activity_ = Clock::now();
    if (auto fed = framer_.feed({buffer.data(), received->bytes}); !fed) {
        push_error(CallId(), std::move(fed).error(), RpcCode::invalid_request);
        return false;
    }
    while (auto line = framer_.next()) {
        if (!take_line(*line)) return false;
    }
    // Descriptors belong to a line that has begun; these came with none that claims them.
    return received_fds_.empty() || framer_.partial();
}

bool Connection::take_line(std::string_view line) {
    auto parsed = parse_message(line);
    if (auto* bad = std::get_if<Malformed>(&parsed)) {
        const bool addressed = !bad->id.is_null();
        push_error(bad->id, Error(ErrorCode::protocol_error, std::move(bad->problem)),
                   bad->rpc_code);
        return addressed && greeted_;
    }
    auto& message = std::get<Message>(parsed);
    if (auto* request = std::get_if<Request>(&message)) return take_request(std::move(*request));
    const auto* notification = std::get_if<Notification>(&message);
    if (notification == nullptr || !greeted_) return false;
    if (notification->method == method::cancel) take_cancel(notification->params);
    return true;
}

bool Connection::take_request(Request request) {
    std::vector<UniqueFd> fds;
    if (request.fds > received_fds_.size()) {
        push_error(request.id,
                   Error(ErrorCode::protocol_error, "the call names descriptors it did not bring"),
                   RpcCode::invalid_request);
        return false;
    }
    for (std::size_t i = 0; i < request.fds; ++i) {
        fds.push_back(std::move(received_fds_.front()));
        received_fds_.pop_front();
    }
    if (!greeted_) return take_hello(request);
    if (request.method == method::cancel) {
        take_cancel(request.params);
        push(encode(Response{request.id}));
        return true;
    }
    start_call(std::move(request), std::move(fds));
    return true;
}

bool Connection::take_hello(const Request& request) {
    if (request.method != method::hello) {
        push_error(request.id, Error(ErrorCode::protocol_error, "the first call is not hello"),
                   RpcCode::invalid_request);
        return false;
    }
    const auto protocol = json_member<std::int64_t>(request.params, "protocol");
    if (!protocol) {
        push_error(request.id, protocol.error(), RpcCode::invalid_params);
        return false;
    }
    if (*protocol != protocol_version) {
        push_error(request.id, wrong_version(*protocol));
        return false;
    }
    greeted_ = true;
    Response response{request.id};
    response.result = {{"protocol", protocol_version},
                       {"server", options_.version},
                       {"pid", ::getpid()},
                       {"home", options_.home},
                       {"scope", options_.scope}};
    push(encode(response));
    return true;
}

void Connection::take_cancel(const Json& params) {
    const auto* id = detail::find_member(params, "call");
    if (id == nullptr) return;
    const auto found = calls_.find(*id);
    // A call that has ended meanwhile has its answer on the way: nothing is left to cancel.
    if (found == calls_.end()) return;
    const auto call = found->second;
    call->cancel();
}

void Connection::start_call(Request request, std::vector<UniqueFd> fds) {
    const auto handler = methods_.find(request.method);
    if (handler == methods_.end()) {
        push_error(request.id,
                   Error(ErrorCode::protocol_mismatch,
                         "the running supervisor knows no method \"" + request.method + "\"",
                         "it is of another version than the client: end it and repeat the command"),
                   RpcCode::method_not_found);
        return;
    }
    if (calls_.size() >= options_.max_calls) {
        push_error(request.id, Error(ErrorCode::failed, "too many calls at once: " +
                                                            std::to_string(options_.max_calls) +
                                                            " are running"));
        return;
    }
    const auto call = std::make_shared<Call>(*this, request.id, std::move(fds));
    if (!calls_.emplace(request.id, call).second) {
        push_error(request.id, Error(ErrorCode::protocol_error, "a call of this id is running"),
                   RpcCode::invalid_request);
        return;
    }
    log_call(request.method, peer_);
    auto task = run_call(shared_from_this(), call, handler->second, std::move(request.params));
    call->task.spawn("call of " + request.method, std::move(task));
}

asio::awaitable<void> Connection::run_call(std::shared_ptr<Connection> self,
                                           std::shared_ptr<Call> call, const Handler& handler,
                                           Json params) {
    Result<Reply> outcome = Error(ErrorCode::interrupted, "interrupted");
    try {
        auto operation = handler(*call, std::move(params));
        outcome = co_await std::move(operation);
    } catch (const boost::system::system_error& e) {
        if (e.code() != asio::error::operation_aborted) {
            log_error(std::string("a call ended by an exception: ") + e.what());
            outcome = Error(ErrorCode::failed, std::string("internal error: ") + e.what());
        }
    } catch (const std::exception& e) {
        log_error(std::string("a call ended by an exception: ") + e.what());
        outcome = Error(ErrorCode::failed, std::string("internal error: ") + e.what());
    }
    self->answer(*call, std::move(outcome));
    self->calls_.erase(call->id());
    self->last_activity_ = Clock::now();
    self->changed_.cancel();
}

void Connection::answer(Call& call, Result<Reply> outcome) {
    std::erase_if(latest_progress_,
                  [&call](const auto& entry) { return entry.first.first == call.id(); });
    if (!outcome) {
        auto error = std::move(outcome).error();
        if (call.cancelled() && error.code != ErrorCode::interrupted) {
            error.code = ErrorCode::interrupted;
            error.context("interrupted");
        }
        push_error(call.id(), std::move(error));
        return;
    }
    Response response{call.id()};
    response.result = std::move(outcome->result);
    response.fds = outcome->fds.size();
    auto line = encode(response);
    if (line.size() > max_line_bytes || response.fds > max_message_fds) {
        push_error(call.id(), Error(ErrorCode::failed, "the answer does not fit into a message"));
        return;
    }
    push(std::move(line), std::move(outcome->fds));
}

void Connection::push(std::string line, std::vector<UniqueFd> fds) {
    if (broken_) return;
    queued_bytes_ += line.size();
    queue_.push_back({std::move(line), std::move(fds)});
    if (queued_bytes_ > options_.max_unsent_bytes) {
        log_warning("a client of uid " + std::to_string(peer_.uid) +
                    " does not read its answers: connection dropped");
        break_off();
    }
    changed_.cancel();
}

void Connection::push_error(CallId id, Error error, RpcCode rpc_code) {
    auto line = encode(ErrorResponse{id, rpc_code, error});
    if (line.size() > max_line_bytes) {
        // Evidence is others' words, of any length.
        error.evidence.clear();
        error.message.resize(std::min(error.message.size(), std::size_t{4096}));
        line = encode(ErrorResponse{std::move(id), rpc_code, std::move(error)});
    }
    push(std::move(line));
}

void Connection::push_notification(std::string_view method, Json params) {
    if (queued_bytes_ > max_unsent_notes) return;
    auto line = encode(Notification{std::string(method), std::move(params)});
    if (line.size() <= max_line_bytes) push(std::move(line));
}

/// The call's handler awaits it, so the connection outlives it.
asio::awaitable<bool> Connection::push_event(const Call& call, Json params) {
    auto line = encode(Notification{"event", std::move(params)});
    while (!broken_ && !call.cancelled() && queued_bytes_ > max_unsent_events) {
        co_await room_.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    if (broken_ || call.cancelled()) co_return false;
    if (line.size() <= max_line_bytes) push(std::move(line));
    co_return !broken_;
}

asio::awaitable<void> Connection::write_lines() {
    const auto self = shared_from_this();
    while (!broken_) {
        if (queue_.empty() && !latest_progress_.empty()) {
            auto params = std::move(latest_progress_.begin()->second);
            latest_progress_.erase(latest_progress_.begin());
            push_notification("progress", std::move(params));
        }
        if (queue_.empty()) {
            if (draining_) break;
            co_await changed_.async_wait(asio::as_tuple(asio::use_awaitable));
            continue;
        }
        const bool full = !send_front();
        if (full) {
            co_await socket_.async_wait(asio::posix::stream_descriptor::wait_write,
                                        asio::as_tuple(asio::use_awaitable));
        }
    }
    ended_ = true;
    changed_.cancel();
}

/// Sends of the first line what goes; false when the socket is full.
bool Connection::send_front() {
    auto& front = queue_.front();
    std::vector<int> fds;
    if (front_sent_ == 0) {
        for (const auto& fd : front.fds) fds.push_back(fd.get());
    }
    const auto rest = std::string_view(front.line).substr(front_sent_);
    const auto sent = send_with_fds(socket_.native_handle(), rest, fds);
    if (!sent) {
        break_off();
        return true;
    }
    if (*sent == 0) return false;
    front.fds.clear();
    front_sent_ += *sent;
    queued_bytes_ -= *sent;
    if (queued_bytes_ <= max_unsent_events) room_.cancel();
    if (front_sent_ == front.line.size()) {
        queue_.pop_front();
        front_sent_ = 0;
    }
    return true;
}

/// Nothing more can be sent: the reader ends, and with it the calls.
void Connection::break_off() {
    broken_ = true;
    closing_ = true;
    socket_.cancel();
    changed_.cancel();
    room_.cancel();
}

std::size_t Connection::running_calls() const {
    return static_cast<std::size_t>(std::ranges::count_if(
        calls_, [](const auto& entry) { return !entry.second->stands_by(); }));
}

void Connection::cancel_calls() {
    // A handler may end at once and take itself out of the table.
    const auto running = calls_;
    for (const auto& [id, call] : running) call->cancel();
}

asio::awaitable<void> Connection::watch_deadlines() {
    const auto self = shared_from_this();
    while (!ended_) {
        deadline_.expires_at(next_deadline());
        co_await deadline_.async_wait(asio::as_tuple(asio::use_awaitable));
        if (ended_ || Clock::now() < next_deadline()) continue;
        if (draining_) {
            break_off();
        } else {
            begin_close();
        }
    }
}

Connection::Clock::time_point Connection::next_deadline() const {
    if (draining_) return drain_until_;
    if (!greeted_) return started_ + options_.hello_timeout;
    if (!calls_.empty()) return Clock::now() + options_.idle_timeout;
    return last_activity_ + options_.idle_timeout;
}

}  // namespace noxsup::control
