#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "imaging/worker/confine.hpp"
#include "imaging/worker/operations.hpp"
#include "imaging/worker/report.hpp"
#include "supervisor/base/argv.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::imaging::worker {
namespace {

constexpr std::size_t kept_errors = 8192;

struct Pipe {
    UniqueFd read_end;
    UniqueFd write_end;
};

Result<Pipe> make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error("make a pipe", errno);
    return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

/// "    (12.34/100%)" pieces, as `qemu-img convert -p` writes them, to the per cent of the last
/// one.
class PercentReader {
  public:
    explicit PercentReader(std::uint64_t total) : report_("convert"), total_(total) {
        report_.begin(0, total);
    }

    void feed(std::string_view piece) {
        text_ += piece;
        const auto close = text_.rfind("/100%)");
        if (close == std::string::npos) return;
        const auto open = text_.rfind('(', close);
        if (open != std::string::npos) {
            const auto percent =
                std::clamp(std::strtod(text_.c_str() + open + 1, nullptr), 0.0, 100.0);
            report_.update(static_cast<std::uint64_t>(static_cast<double>(total_) * percent / 100));
        }
        text_.erase(0, close + 6);
    }
    void finish() { report_.finish(total_); }

  private:
    ProgressReport report_;
    std::uint64_t total_;
    std::string text_;
};

[[noreturn]] void run_program(const std::vector<std::string>& argv, const std::vector<int>& keep,
                              int out, int err) {
    const auto pointers = null_terminated(argv);
    for (const int fd : keep) ::fcntl(fd, F_SETFD, 0);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(err, STDERR_FILENO);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    limit_child_memory(qemu_img_memory);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
}

/// Follows both streams to their ends; returns the tail of what went to standard error.
std::string follow(const UniqueFd& out, const UniqueFd& err, PercentReader& percent) {
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
                percent.feed(piece);
            } else {
                errors += piece;
                if (errors.size() > kept_errors) errors.erase(0, errors.size() - kept_errors);
            }
        }
    }
    return errors;
}

Error conversion_error(int status, const std::string& errors) {
    auto lines = last_lines(errors, 10);
    const auto words =
        lines.empty() ? std::string("it said nothing") : escape_for_terminal(lines.back());
    auto code = ErrorCode::image_invalid;
    std::string how = words;
    if (errors.find("No space left") != std::string::npos) code = ErrorCode::no_space;
    if (WIFSIGNALED(status)) {
        code = ErrorCode::image_hostile;
        how =
            WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL
                ? "it took more time or memory than an honest image needs"
                : "it was ended by signal " + std::to_string(WTERMSIG(status)) + " (" + words + ")";
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) code = ErrorCode::host_lacks_tool;
    Error error(code, "qemu-img cannot rewrite the image: " + how);
    if (code == ErrorCode::no_space) error.hint = "free some space, then repeat the command";
    error.evidence = std::move(lines);
    return error;
}

Result<> run_qemu_img(const std::vector<std::string>& argv, const ConvertRequest& request,
                      std::uint64_t total) {
    NOXSUP_TRY_VALUE(auto out, make_pipe());
    NOXSUP_TRY_VALUE(auto err, make_pipe());
    const auto child = ::fork();
    if (child < 0) return errno_error("start qemu-img", errno);
    if (child == 0) {
        run_program(argv, {request.input_fd, request.output_fd}, out.write_end.get(),
                    err.write_end.get());
    }
    out.write_end.reset();
    err.write_end.reset();
    PercentReader percent(total);
    const auto errors = follow(out.read_end, err.read_end, percent);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return conversion_error(status, errors);
    percent.finish();
    return {};
}

std::string reopened(int fd) {
    return "/proc/self/fd/" + std::to_string(fd);
}

}  // namespace

Result<ImageFacts> convert(const ConvertRequest& request, const std::filesystem::path& qemu_img) {
    NOXSUP_TRY_VALUE(const auto facts, inspect_image(request.input_fd, request.accept_raw));
    if (facts.virtual_bytes > request.max_virtual_bytes) {
        return Error{ErrorCode::image_hostile,
                     "a disk of " + format_bytes(facts.virtual_bytes) + ", more than the " +
                         format_bytes(request.max_virtual_bytes) + " we take"};
    }
    // Formats are named, never probed; what is written stands alone.
    const std::vector<std::string> argv{qemu_img.string(),
                                        "convert",
                                        "-p",
                                        "-f",
                                        facts.format,
                                        "-O",
                                        "qcow2",
                                        "-o",
                                        "compat=1.1,lazy_refcounts=off",
                                        reopened(request.input_fd),
                                        reopened(request.output_fd)};
    NOXSUP_TRY(run_qemu_img(argv, request, facts.virtual_bytes));
    if (::fsync(request.output_fd) != 0) return errno_error("fsync the image", errno);
    NOXSUP_TRY_VALUE(auto made, inspect_image(request.output_fd, false));
    NOXSUP_TRY(check_guest_disk(request.output_fd));
    return made;
}

}  // namespace noxsup::imaging::worker
