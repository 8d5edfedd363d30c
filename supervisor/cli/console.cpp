#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <string_view>

#include "supervisor/cli/terminal.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {
namespace {

constexpr char leave_key = 0x1d;  // Ctrl-]
constexpr std::size_t chunk = 16384;
/// Keys typed while the guest does not read; beyond this we stop reading the keyboard.
constexpr std::size_t max_unsent = 65536;

/// Moves bytes between the terminal and the console's socket until either ends.
class ConsoleRelay {
  public:
    ConsoleRelay(int socket, bool terminal) : socket_(socket), terminal_(terminal) {}

    void run() {
        while (!done_) {
            std::array<pollfd, 2> waits = {
                {{input_open_ && unsent_.size() < max_unsent ? STDIN_FILENO : -1, POLLIN, 0},
                 {socket_, static_cast<short>(unsent_.empty() ? POLLIN : POLLIN | POLLOUT), 0}}};
            if (::poll(waits.data(), waits.size(), -1) < 0) {
                if (errno == EINTR) continue;
                return;
            }
            if (waits[0].revents != 0) read_keys();
            if ((waits[1].revents & POLLOUT) != 0) send_keys();
            if ((waits[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) show_output();
        }
    }

    /// True when the console's end was closed, not ours.
    [[nodiscard]] bool closed_by_guest() const { return closed_; }

  private:
    void read_keys() {
        std::array<char, chunk> buffer{};
        const auto got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
        if (got <= 0) {
            // A pipe that has ended: its text is sent, the output goes on to be shown. A terminal
            // that has ended is gone.
            input_open_ = false;
            done_ = terminal_;
            return;
        }
        std::string_view keys(buffer.data(), static_cast<std::size_t>(got));
        const auto leave = terminal_ ? keys.find(leave_key) : std::string_view::npos;
        if (leave != std::string_view::npos) {
            keys = keys.substr(0, leave);
            done_ = true;
        }
        unsent_ += keys;
        send_keys();
    }

    void send_keys() {
        while (!unsent_.empty()) {
            const auto sent =
                ::send(socket_, unsent_.data(), unsent_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent <= 0) return;
            unsent_.erase(0, static_cast<std::size_t>(sent));
        }
    }

    void show_output() {
        std::array<char, chunk> buffer{};
        const auto got = ::recv(socket_, buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
        if (got <= 0) {
            done_ = closed_ = true;
            return;
        }
        // Raw on purpose: it is the guest's terminal, and full-screen programs run in it.
        write_text(STDOUT_FILENO, {buffer.data(), static_cast<std::size_t>(got)});
    }

    int socket_;
    bool terminal_;
    bool input_open_ = true;
    bool done_ = false;
    bool closed_ = false;
    std::string unsent_;
};

}  // namespace

Result<int> run_verb(Session& session, const ConsoleOptions& options) {
    NOXSUP_TRY_VALUE(auto reply,
                     session.call(control::method::vm_console, {{"name", options.name}}));
    if (reply.fds.size() != 1) {
        return Error{ErrorCode::protocol_error, "the supervisor sent no console"};
    }
    const bool terminal = ::isatty(STDIN_FILENO) == 1;
    if (terminal) session.note("console of " + options.name + "; Ctrl-] leaves");
    ConsoleRelay relay(reply.fds.front().get(), terminal);
    {
        const RawMode raw(STDIN_FILENO);
        relay.run();
    }
    if (terminal) write_text(STDERR_FILENO, "\n");
    if (relay.closed_by_guest()) session.note("the console of " + options.name + " has ended");
    return 0;
}

}  // namespace noxsup::cli
