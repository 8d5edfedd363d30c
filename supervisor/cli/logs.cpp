#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>

#include "supervisor/base/text.hpp"
#include "supervisor/cli/terminal.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {
namespace {

constexpr std::size_t chunk = 65536;
constexpr std::chrono::milliseconds follow_interval{200};

/// Shows a file of a guest's or QEMU's words: escaped for a terminal, as it is for anything else.
class LogReader {
  public:
    explicit LogReader(int fd) : fd_(fd), escape_(::isatty(STDOUT_FILENO) == 1) {}

    /// Moves to where the last `lines` lines begin.
    void skip_to_last(unsigned lines) {
        struct stat status {};
        if (::fstat(fd_, &status) != 0) return;
        std::string tail;
        off_t start = status.st_size;
        // One newline more than lines: the one that ends the line before.
        while (start > 0 && std::ranges::count(tail, '\n') <= static_cast<std::ptrdiff_t>(lines)) {
            const auto size = std::min<off_t>(start, chunk);
            start -= size;
            std::string piece(static_cast<std::size_t>(size), '\0');
            const auto got = ::pread(fd_, piece.data(), piece.size(), start);
            if (got != size) return;
            tail.insert(0, piece);
        }
        auto from = tail.size();
        if (from > 0 && tail.back() == '\n') --from;
        for (unsigned i = 0; i < lines && from > 0; ++i) {
            const auto newline = tail.rfind('\n', from - 1);
            from = newline == std::string::npos ? 0 : newline;
        }
        if (from < tail.size() && tail[from] == '\n') ++from;
        position_ = lines == 0 ? status.st_size : start + static_cast<off_t>(from);
    }

    /// Shows what is there. Errors: io_error.
    Result<> show() {
        struct stat status {};
        // The supervisor bounds logs by copy and truncate: what was cut off is not ours to show.
        if (::fstat(fd_, &status) == 0 && status.st_size < position_) position_ = 0;
        for (;;) {
            std::array<char, chunk> buffer{};
            const auto got = ::pread(fd_, buffer.data(), buffer.size(), position_);
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return errno_error("read the log", errno);
            if (got == 0) break;
            position_ += got;
            write({buffer.data(), static_cast<std::size_t>(got)});
        }
        return {};
    }

    /// A last line without its newline.
    void finish() {
        write_text(STDOUT_FILENO, escape_for_terminal(rest_));
        rest_.clear();
    }

  private:
    void write(std::string_view bytes) {
        if (!escape_) {
            write_text(STDOUT_FILENO, bytes);
            return;
        }
        // Whole lines: a character may be cut in two at the end of what was read.
        rest_ += bytes;
        const auto end = rest_.rfind('\n');
        if (end == std::string::npos && rest_.size() < chunk) return;
        auto lines = rest_.substr(0, end == std::string::npos ? end : end + 1);
        rest_.erase(0, lines.size());
        std::string plain;
        for (std::size_t i = 0; i < lines.size(); ++i) {
            const bool line_end = lines[i] == '\r' && i + 1 < lines.size() && lines[i + 1] == '\n';
            if (!line_end) plain += lines[i];
        }
        write_text(STDOUT_FILENO, escape_for_terminal(plain));
    }

    int fd_;
    bool escape_;
    off_t position_ = 0;
    std::string rest_;
};

Result<int> show_guest_log(Session& session, const LogsOptions& options) {
    SshOptions ssh;
    ssh.name = options.name;
    const auto file = "/var/log/cloud-init-output.log";
    ssh.command = {"sudo", "-n", "tail", "-n",
                   options.lines ? std::to_string(*options.lines) : "+1"};
    if (options.follow) ssh.command.emplace_back("-f");
    ssh.command.emplace_back(file);
    return run_verb(session, ssh);
}

}  // namespace

Result<int> run_verb(Session& session, const LogsOptions& options) {
    if (options.log == "cloud-init") return show_guest_log(session, options);
    NOXSUP_TRY_VALUE(auto reply, session.call(control::method::vm_log,
                                              {{"name", options.name}, {"log", options.log}}));
    if (reply.fds.size() != 1) {
        return Error{ErrorCode::protocol_error, "the supervisor sent no log"};
    }
    LogReader reader(reply.fds.front().get());
    if (options.lines) reader.skip_to_last(*options.lines);
    NOXSUP_TRY(reader.show());
    // Ctrl-C ends it as it ends tail.
    while (options.follow) {
        std::this_thread::sleep_for(follow_interval);
        NOXSUP_TRY(reader.show());
    }
    reader.finish();
    return 0;
}

}  // namespace noxsup::cli
