#include "qmp/connection.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "supervisor/base/unix_socket.hpp"

namespace noxsup::qmp {
namespace {

constexpr std::size_t read_bytes = std::size_t{32} << 10;
/// Reads of one turn; then others on the thread get theirs, even in an event storm.
constexpr int reads_per_turn = 16;

}  // namespace

Connection::Connection(const boost::asio::any_io_executor& executor, UniqueFd socket)
    : descriptor_(executor) {
    // Assigned before it is released: when that throws, the descriptor still has its owner.
    descriptor_.assign(socket.get());
    static_cast<void>(socket.release());
}

void Connection::start() {
    wait_readable();
}

void Connection::shut() {
    boost::system::error_code ignored;
    descriptor_.close(ignored);
}

void Connection::wait_readable() {
    descriptor_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                           [self = shared_from_this()](const boost::system::error_code& failure) {
                               if (!failure && self->is_open()) self->read_turn();
                           });
}

void Connection::read_turn() {
    std::array<char, read_bytes> buffer;  // NOLINT: filled by recv
    for (int i = 0; i < reads_per_turn; ++i) {
        // Not recvmsg: descriptors that nobody asked for are thrown away by the kernel.
        const auto got =
            ::recv(descriptor_.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) break;
        if (got <= 0) {
            auto failure = std::move(write_failure_);
            if (got < 0 && errno != ECONNRESET && !failure) failure = errno_error("receive", errno);
            on_end(std::move(failure));
            return;
        }
        on_bytes({buffer.data(), static_cast<std::size_t>(got)});
        if (!is_open()) return;
        if (static_cast<std::size_t>(got) < buffer.size()) break;
    }
    flush();
    if (is_open()) wait_readable();
}

void Connection::flush() {
    if (waits_for_room_ || write_failure_) return;
    while (is_open()) {
        const auto out = output();
        if (out.bytes.empty()) return;
        auto taken = send_with_fds(descriptor_.native_handle(), out.bytes, out.fds);
        if (!taken) {
            // What the other side said before it went is still to be read; then comes the end.
            write_failure_ = std::move(taken).error();
            ::shutdown(descriptor_.native_handle(), SHUT_RDWR);
            return;
        }
        if (*taken == 0) {
            wait_writable();
            return;
        }
        sent(*taken);
    }
}

void Connection::wait_writable() {
    waits_for_room_ = true;
    descriptor_.async_wait(boost::asio::posix::descriptor_base::wait_write,
                           [self = shared_from_this()](const boost::system::error_code& failure) {
                               self->waits_for_room_ = false;
                               if (!failure) self->flush();
                           });
}

}  // namespace noxsup::qmp
