// The serial console: always drained, logged within bounds, and shared by any number of users.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"
#include "supervisor/vm/bounded_log.hpp"

namespace noxsup::vm {

/// The one client of QEMU's console socket: a client there that does not read freezes the guest, so
/// this one always reads. Users get a socket each, fed from a ring; one who is slow is told what
/// was left out.
class Console {
  public:
    /// @param socket connected to QEMU's console, non-blocking
    /// @param on_output called with each piece as it comes
    Console(const boost::asio::any_io_executor& executor, UniqueFd socket, BoundedLog log,
            std::function<void(std::string_view)> on_output = {});
    Console(const Console&) = delete;
    Console& operator=(const Console&) = delete;
    /// Users' sockets are closed.
    ~Console();

    /// A stream socket for one more user, who first gets the last lines. What the user writes goes
    /// to the guest. Errors: io_error; wrong_state when QEMU has closed the console.
    Result<UniqueFd> attach();

    /// The newest output, at most `count` whole lines, escaped for a terminal.
    [[nodiscard]] std::vector<std::string> last_lines(std::size_t count) const;

    /// All that is still in the ring.
    [[nodiscard]] const std::string& recent() const;

  private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace noxsup::vm
