#include "imaging/flatten.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "imaging/own_disk.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/scope_exit.hpp"

namespace noxsup::imaging {
namespace {

/// A terabyte at 100 MB/s.
constexpr std::chrono::hours flatten_deadline{3};

Result<> make_ours(const std::filesystem::path& file) {
    NOXSUP_TRY_VALUE(const auto fd, open_file(file, O_RDONLY | O_NOFOLLOW));
    if (::fchmod(fd.get(), 0600) != 0) return errno_error("chmod " + file.string(), errno);
    if (::fsync(fd.get()) != 0) return errno_error("fsync " + file.string(), errno);
    return {};
}

}  // namespace

boost::asio::awaitable<Result<>> flatten_disk(CommandRunner& runner, FlattenSpec spec) {
    NOXSUP_CO_TRY(check_own_disk(spec.disk));
    std::error_code ignored;
    if (std::filesystem::exists(std::filesystem::symlink_status(spec.output, ignored)))
        co_return Error{ErrorCode::already_exists, spec.output.string() + " exists already"};
    bool done = false;
    const ScopeExit tidy([&done, &spec] {
        if (!done) ::unlink(spec.output.c_str());
    });
    Command command;
    command.argv = {"qemu-img", "convert", "-q", "-O", "qcow2"};
    if (!spec.snapshot.empty()) {
        command.argv.emplace_back("-l");
        command.argv.push_back("snapshot.name=" + spec.snapshot);
    }
    command.argv.push_back(describe_disk(spec.disk, spec.base));
    command.argv.push_back(spec.output.string());
    command.deadline = flatten_deadline;
    auto running = run_checked(runner, std::move(command));
    auto output = co_await std::move(running);
    if (!output)
        co_return typed_qemu_img_error(std::move(output).error())
            .context("copy " + spec.disk.string());
    NOXSUP_CO_TRY(make_ours(spec.output));
    done = true;
    co_return Result<>();
}

}  // namespace noxsup::imaging
