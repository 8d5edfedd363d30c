#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "imaging/signature.hpp"
#include "imaging/worker/child.hpp"
#include "imaging/worker/operations.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::imaging::worker {
namespace {

constexpr std::uint64_t gpgv_memory = std::uint64_t{256} << 20;
constexpr std::size_t text_limit = std::size_t{1} << 20;
constexpr std::size_t status_limit = std::size_t{64} << 10;

std::vector<std::string> arguments(const SignatureRequest& request,
                                   const std::filesystem::path& gpgv, int status_fd) {
    std::vector<std::string> argv{gpgv.string(), "--keyring", reopened(request.keyring_fd),
                                  "--status-fd", std::to_string(status_fd)};
    if (request.signature_fd >= 0) {
        argv.push_back(reopened(request.signature_fd));
    } else {
        argv.insert(argv.end(), {"--output", "-"});
    }
    argv.push_back(reopened(request.data_fd));
    return argv;
}

}  // namespace

Result<std::string> check_signature(const SignatureRequest& request,
                                    const std::filesystem::path& gpgv) {
    const bool inside = request.signature_fd < 0;
    // The status has a channel of its own: what gpgv tells people quotes what it reads.
    const UniqueFd status(::memfd_create("gpgv-status", MFD_CLOEXEC));
    if (!status) return errno_error("make a memory file", errno);
    std::vector<int> keep{request.data_fd, request.keyring_fd, status.get()};
    if (!inside) keep.push_back(request.signature_fd);
    std::string text;
    bool too_long = false;
    const auto take = [&](std::string_view piece) {
        too_long = too_long || piece.size() > text_limit - text.size();
        if (!too_long) text += piece;
    };
    NOXSUP_TRY_VALUE(const auto end,
                     run_child(arguments(request, gpgv, status.get()), keep, gpgv_memory, take));
    if (::lseek(status.get(), 0, SEEK_SET) != 0) return errno_error("read gpgv's status", errno);
    NOXSUP_TRY_VALUE(const auto lines, read_all(status.get(), status_limit, "gpgv's status"));
    auto key = judge_gpgv_status(lines);
    // Beside a good signature there may be one by another key, which makes gpgv end with 2; but not
    // around a text.
    const bool ended_well = WIFEXITED(end.status) && WEXITSTATUS(end.status) == 0;
    if (key && inside && (!ended_well || too_long))
        key = Error{ErrorCode::digest_mismatch, "gpgv does not vouch for the whole text"};
    if (key && !WIFEXITED(end.status)) key = Error{ErrorCode::command_failed, "gpgv was killed"};
    if (!key) {
        auto error = std::move(key).error();
        error.evidence = last_lines(end.errors, 10);
        return error;
    }
    if (inside) NOXSUP_TRY(write_all(request.output_fd, text, "the signed text"));
    return key;
}

}  // namespace noxsup::imaging::worker
