#include "supervisor/cli/terminal.hpp"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "supervisor/base/text.hpp"

namespace noxsup::cli {
namespace {

// Signal handlers reach only these.
int raw_fd = -1;
termios before_raw{};

constexpr std::array ending_signals = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

extern "C" void restore_and_die(int signal) {
    if (raw_fd >= 0) ::tcsetattr(raw_fd, TCSANOW, &before_raw);
    ::signal(signal, SIG_DFL);
    ::raise(signal);
}

}  // namespace

bool is_interactive() {
    return ::isatty(STDIN_FILENO) == 1 && ::isatty(STDERR_FILENO) == 1;
}

bool is_capable_terminal(int fd) {
    if (::isatty(fd) != 1) return false;
    const char* name = ::getenv("TERM");
    return name != nullptr && std::string_view(name) != "dumb" && *name != '\0';
}

bool wants_color(int fd, bool no_color) {
    const char* forbidden = ::getenv("NO_COLOR");
    if (no_color || (forbidden != nullptr && *forbidden != '\0')) return false;
    return is_capable_terminal(fd);
}

bool write_text(int fd, std::string_view text) {
    while (!text.empty()) {
        const auto written = ::write(fd, text.data(), text.size());
        if (written > 0) {
            text.remove_prefix(static_cast<std::size_t>(written));
            continue;
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN) return false;
        // Somebody else made the terminal non-blocking; wait for it.
        pollfd ready{fd, POLLOUT, 0};
        ::poll(&ready, 1, -1);
    }
    return true;
}

bool ask_yes_no(std::string_view question, bool by_default) {
    for (;;) {
        write_text(STDERR_FILENO, std::string(question) + (by_default ? " [Y/n] " : " [y/N] "));
        std::string line;
        char c = 0;
        ssize_t got = 0;
        while ((got = ::read(STDIN_FILENO, &c, 1)) == 1 && c != '\n') line += c;
        if (got <= 0) {
            write_text(STDERR_FILENO, "\n");
            return false;
        }
        const auto answer = trim(line);
        if (answer.empty()) return by_default;
        if (answer == "y" || answer == "Y" || answer == "yes") return true;
        if (answer == "n" || answer == "N" || answer == "no") return false;
    }
}

RawMode::RawMode(int fd) : fd_(fd) {
    if (::isatty(fd) != 1 || ::tcgetattr(fd, &before_raw) != 0) return;
    auto raw = before_raw;
    ::cfmakeraw(&raw);
    raw_fd = fd;
    for (const int signal : ending_signals) {
        struct sigaction action {};
        action.sa_handler = restore_and_die;
        ::sigaction(signal, &action, nullptr);
    }
    active_ = ::tcsetattr(fd, TCSANOW, &raw) == 0;
}

RawMode::~RawMode() {
    if (!active_) return;
    ::tcsetattr(fd_, TCSAFLUSH, &before_raw);
    raw_fd = -1;
    for (const int signal : ending_signals) ::signal(signal, SIG_DFL);
}

}  // namespace noxsup::cli
