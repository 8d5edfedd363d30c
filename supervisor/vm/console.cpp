#include "supervisor/vm/console.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include "supervisor/base/async.hpp"
#include "supervisor/base/sync.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/vm/console_replay.hpp"

namespace noxsup::vm {
namespace {

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using Socket = asio::local::stream_protocol::socket;
constexpr auto as_tuple = asio::as_tuple(asio::use_awaitable);

constexpr std::size_t ring_bytes = std::size_t{64} << 10;
constexpr std::size_t replay_bytes = std::size_t{4} << 10;
constexpr std::size_t max_piece_bytes = std::size_t{16} << 10;
constexpr std::size_t max_pending_input = std::size_t{16} << 10;

}  // namespace

struct Console::State : std::enable_shared_from_this<Console::State> {
    State(const asio::any_io_executor& used, UniqueFd fd, BoundedLog log_file,
          std::function<void(std::string_view)> observer)
        : executor(used),
          qemu(used, asio::local::stream_protocol(), fd.release()),
          log(std::move(log_file)),
          on_output(std::move(observer)),
          output(used),
          input(used),
          tasks(used) {}

    void take_output(std::string_view data) {
        log.append(data);
        ring += data;
        if (ring.size() > 2 * ring_bytes) {
            const auto drop = ring.size() - ring_bytes;
            ring.erase(0, drop);
            ring_start += drop;
        }
        output.notify_all();
        if (on_output) on_output(data);
    }

    asio::awaitable<void> read_qemu() {
        std::array<char, 16384> chunk{};
        for (;;) {
            const auto [failure, got] =
                co_await qemu.async_read_some(asio::buffer(chunk), as_tuple);
            if (got > 0) take_output(std::string_view(chunk.data(), got));
            if (failure) break;
        }
        closed = true;
        output.notify_all();
        input.notify_all();
    }

    asio::awaitable<void> write_qemu() {
        while (!closed) {
            if (pending_input.empty()) {
                co_await input.wait();
                const auto state = co_await asio::this_coro::cancellation_state;
                if (state.cancelled() != asio::cancellation_type::none) co_return;
                continue;
            }
            const auto data = std::exchange(pending_input, {});
            const auto [failure, put] =
                co_await asio::async_write(qemu, asio::buffer(data), as_tuple);
            input.notify_all();
            if (failure) co_return;
        }
    }

    /// The end of the ring, beginning with a whole line.
    [[nodiscard]] std::string_view newest_lines() const {
        const std::string_view all(ring);
        if (all.size() <= replay_bytes) return all;
        const auto newest = all.substr(all.size() - replay_bytes);
        const auto line = newest.find('\n');
        return line == std::string_view::npos ? newest : newest.substr(line + 1);
    }

    /// Feeds one user from the ring until the user or the console goes.
    asio::awaitable<bool> feed_user(Socket& user) {
        auto position = ring_start + ring.size();
        auto piece = replayable(newest_lines());
        for (;;) {
            if (position < ring_start) {
                piece += "\r\n[noxsup: " + std::to_string(ring_start - position) +
                         " bytes left out]\r\n";
                position = ring_start;
            }
            const auto fresh = std::string_view(ring).substr(
                static_cast<std::size_t>(position - ring_start), max_piece_bytes);
            piece += fresh;
            position += fresh.size();
            if (piece.empty()) {
                if (closed) co_return true;
                co_await output.wait();
                const auto state = co_await asio::this_coro::cancellation_state;
                if (state.cancelled() != asio::cancellation_type::none) co_return false;
                continue;
            }
            const auto [failure, put] =
                co_await asio::async_write(user, asio::buffer(piece), as_tuple);
            if (failure) co_return false;
            piece.clear();
        }
    }

    /// Takes one user's keys until the user hangs up.
    asio::awaitable<bool> read_user(Socket& user) {
        std::array<char, 4096> chunk{};
        while (!closed) {
            if (pending_input.size() >= max_pending_input) {
                // The guest does not read; let the user's socket fill up instead of our memory.
                co_await input.wait();
                const auto state = co_await asio::this_coro::cancellation_state;
                if (state.cancelled() != asio::cancellation_type::none) co_return false;
                continue;
            }
            const auto [failure, got] =
                co_await user.async_read_some(asio::buffer(chunk), as_tuple);
            if (failure) co_return false;
            pending_input.append(chunk.data(), got);
            input.notify_all();
        }
        co_return true;
    }

    asio::awaitable<void> serve_user(std::shared_ptr<State> /*self*/, Socket user) {
        co_await (feed_user(user) || read_user(user));
    }

    asio::awaitable<void> keep(std::shared_ptr<State> /*self*/, asio::awaitable<void> work) {
        co_await std::move(work);
    }

    asio::any_io_executor executor;
    Socket qemu;
    BoundedLog log;
    std::function<void(std::string_view)> on_output;
    std::string ring;
    std::uint64_t ring_start = 0;  ///< offset of the ring's first byte in all output
    std::string pending_input;
    bool closed = false;
    Condition output;
    Condition input;
    TaskGroup tasks;
};

Console::Console(const asio::any_io_executor& executor, UniqueFd socket, BoundedLog log,
                 std::function<void(std::string_view)> on_output)
    : state_(std::make_shared<State>(executor, std::move(socket), std::move(log),
                                     std::move(on_output))) {
    auto& state = *state_;
    state.tasks.spawn("console output", state.keep(state_, state.read_qemu()));
    state.tasks.spawn("console input", state.keep(state_, state.write_qemu()));
}

Console::~Console() {
    state_->on_output = nullptr;
    state_->closed = true;
    state_->tasks.cancel();
}

Result<UniqueFd> Console::attach() {
    if (state_->closed) return Error{ErrorCode::wrong_state, "the console is closed"};
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
        return errno_error("make a socket pair", errno);
    }
    UniqueFd theirs(ends[1]);
    Socket ours(state_->executor, asio::local::stream_protocol(), ends[0]);
    state_->tasks.spawn("console user", state_->serve_user(state_, std::move(ours)));
    return theirs;
}

std::vector<std::string> Console::last_lines(std::size_t count) const {
    auto lines = noxsup::last_lines(state_->ring, count);
    for (auto& line : lines) line = escape_for_terminal(trim(line));
    return lines;
}

const std::string& Console::recent() const {
    return state_->ring;
}

}  // namespace noxsup::vm
