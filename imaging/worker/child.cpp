#include "imaging/worker/child.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "imaging/worker/confine.hpp"
#include "supervisor/base/argv.hpp"
#include "supervisor/base/pipe.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::imaging::worker {
namespace {

constexpr std::size_t kept_errors = 8192;

[[noreturn]] void run_program(const std::vector<std::string>& argv, const std::vector<int>& keep,
                              std::uint64_t memory, int out, int err) {
    const auto pointers = null_terminated(argv);
    for (const int fd : keep) ::fcntl(fd, F_SETFD, 0);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(err, STDERR_FILENO);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    limit_child_memory(memory);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
}

/// Follows both streams to their ends; returns the tail of what went to standard error.
std::string follow(const UniqueFd& out, const UniqueFd& err,
                   const std::function<void(std::string_view)>& on_output) {
    std::string errors;
    std::array<char, 4096> chunk{};
    std::array<pollfd, 2> streams{pollfd{out.get(), POLLIN, 0}, pollfd{err.get(), POLLIN, 0}};
    while (streams[0].fd >= 0 || streams[1].fd >= 0) {
        if (::poll(streams.data(), streams.size(), -1) < 0 && errno != EINTR) break;
        for (auto& stream : streams) {
            if (stream.fd < 0 || stream.revents == 0) continue;
            const auto got = ::read(stream.fd, chunk.data(), chunk.size());
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) {
                stream.fd = -1;
                continue;
            }
            const std::string_view piece(chunk.data(), static_cast<std::size_t>(got));
            if (&stream == &streams[0]) {
                on_output(piece);
            } else {
                errors += piece;
                if (errors.size() > kept_errors) errors.erase(0, errors.size() - kept_errors);
            }
        }
    }
    return errors;
}

}  // namespace

Result<ChildEnd> run_child(const std::vector<std::string>& argv, const std::vector<int>& keep,
                           std::uint64_t memory,
                           const std::function<void(std::string_view)>& on_output) {
    NOXSUP_TRY_VALUE(auto out, make_pipe());
    NOXSUP_TRY_VALUE(auto err, make_pipe());
    const auto child = ::fork();
    if (child < 0) return errno_error("start " + argv.front(), errno);
    if (child == 0) run_program(argv, keep, memory, out.write_end.get(), err.write_end.get());
    out.write_end.reset();
    err.write_end.reset();
    ChildEnd end;
    end.errors = follow(out.read_end, err.read_end, on_output);
    while (::waitpid(child, &end.status, 0) < 0 && errno == EINTR) {
    }
    return end;
}

std::string reopened(int fd) {
    return "/proc/self/fd/" + std::to_string(fd);
}

}  // namespace noxsup::imaging::worker
