// The I/O below both clients: one socket, read in turns and written when it can take more.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string_view>

#include "qmp/session.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::qmp {

/// Moves bytes for the class derived from it. Handlers that are under way share ownership, so an
/// object may be let go at any time, also from within its own callbacks.
class Connection : public std::enable_shared_from_this<Connection> {
  public:
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    virtual ~Connection() = default;

    /// Begins to read. Call once, when a shared_ptr owns the object.
    void start();
    /// Writes what output() has, now or when the socket can take it.
    void flush();
    [[nodiscard]] bool is_open() const { return descriptor_.is_open(); }
    [[nodiscard]] boost::asio::any_io_executor executor() { return descriptor_.get_executor(); }

  protected:
    /// @pre the socket is non-blocking. May throw boost::system::system_error.
    Connection(const boost::asio::any_io_executor& executor, UniqueFd socket);

    /// Closes the socket; no callback comes any more.
    void shut();

    /// Bytes came. May call shut().
    virtual void on_bytes(std::string_view bytes) = 0;
    /// The stream is at its end, or `failure` kept bytes from being written or read.
    virtual void on_end(std::optional<Error> failure) = 0;
    virtual Outgoing output() = 0;
    virtual void sent(std::size_t bytes) = 0;

  private:
    void wait_readable();
    void wait_writable();
    void read_turn();

    boost::asio::posix::stream_descriptor descriptor_;
    bool waits_for_room_ = false;
    std::optional<Error> write_failure_;
};

/// One coroutine's wait for one value, with a time limit; the value is put in by whoever has it.
template <class T>
class Waiter {
  public:
    explicit Waiter(const boost::asio::any_io_executor& executor) : timer_(executor) {}

    void complete(T value) {
        value_.emplace(std::move(value));
        timer_.cancel();
    }
    [[nodiscard]] bool completed() const { return value_.has_value(); }
    /// @pre completed()
    T take() { return std::move(*value_); }
    boost::asio::steady_timer& timer() { return timer_; }

  private:
    boost::asio::steady_timer timer_;
    std::optional<T> value_;
};

}  // namespace noxsup::qmp
