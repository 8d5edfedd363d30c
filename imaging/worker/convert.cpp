#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "imaging/worker/child.hpp"
#include "imaging/worker/operations.hpp"
#include "imaging/worker/report.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging::worker {
namespace {

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
    PercentReader percent(total);
    NOXSUP_TRY_VALUE(const auto end,
                     run_child(argv, {request.input_fd, request.output_fd}, qemu_img_memory,
                               [&percent](std::string_view piece) { percent.feed(piece); }));
    if (!WIFEXITED(end.status) || WEXITSTATUS(end.status) != 0)
        return conversion_error(end.status, end.errors);
    percent.finish();
    return {};
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
