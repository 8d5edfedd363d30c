#include "supervisor/vm/guest_orders.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio.hpp>
#include <cerrno>

#include "supervisor/base/async.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::vm {
namespace {

namespace asio = boost::asio;

/// A longer line is none that we wait for.
constexpr std::size_t max_line_bytes = 256;

/// @param answer "1 sh: 3: date: not found"
Error failed(std::string_view answer) {
    const auto space = std::min(answer.find(' '), answer.size());
    Error error(ErrorCode::guest_failed,
                "a script of the supervisor's failed in the guest, status " +
                    escape_for_terminal(answer.substr(0, space)));
    const auto words = trim(answer.substr(space));
    if (!words.empty()) error.evidence.push_back(escape_for_terminal(words));
    return error;
}

/// Reads lines until the one that is meant.
asio::awaitable<Result<std::string>> read_answer(asio::posix::stream_descriptor& port,
                                                 std::string token) {
    const auto beginning = "done " + token + " ";
    std::string buffered;
    std::array<char, 512> piece{};
    for (;;) {
        const auto [failure, got] =
            co_await port.async_read_some(asio::buffer(piece), asio::as_tuple(asio::use_awaitable));
        if (failure == asio::error::operation_aborted)
            co_return Error{ErrorCode::interrupted, "interrupted"};
        if (failure) {
            co_return Error{ErrorCode::guest_failed,
                            "QEMU ended before the guest had carried out its orders"};
        }
        buffered.append(piece.data(), got);
        for (auto end = buffered.find('\n'); end != std::string::npos; end = buffered.find('\n')) {
            const auto line = buffered.substr(0, end);
            buffered.erase(0, end + 1);
            if (!line.starts_with(beginning)) continue;
            const auto answer = line.substr(beginning.size());
            if (answer == "0" || answer.starts_with("0 "))
                co_return std::string(trim(std::string_view(answer).substr(1)));
            co_return failed(answer);
        }
        if (buffered.size() > max_line_bytes) buffered.clear();
    }
}

}  // namespace

Result<> post_order(int port, std::string_view script, std::string_view token) {
    if (script.size() > max_order_bytes)
        return Error{ErrorCode::invalid_argument, "the orders for the guest are too long"};
    auto text = "run " + std::to_string(script.size()) + " " + std::string(token) + "\n";
    text += script;
    const auto sent = ::send(port, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(text.size())) return {};
    if (sent < 0 && errno != EAGAIN) return errno_error("give the guest its orders", errno);
    return Error{ErrorCode::io_error, "the guest's port takes no orders"};
}

asio::awaitable<Result<std::string>> await_order(int port, std::string token,
                                                 std::chrono::steady_clock::duration limit) {
    UniqueFd own(::fcntl(port, F_DUPFD_CLOEXEC, 0));
    if (!own) co_return errno_error("duplicate a descriptor", errno);
    asio::posix::stream_descriptor stream(co_await asio::this_coro::executor, own.release());
    Error late(ErrorCode::timeout, "the guest has not carried out its orders in time");
    auto reading = read_answer(stream, std::move(token));
    co_return co_await with_deadline(std::move(reading), limit, std::move(late));
}

}  // namespace noxsup::vm
