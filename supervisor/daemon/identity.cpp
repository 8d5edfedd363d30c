#include "supervisor/daemon/identity.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "supervisor/base/file.hpp"
#include "supervisor/base/random.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::daemon {
namespace {

using std::filesystem::path;

constexpr std::size_t max_key_bytes = std::size_t{64} << 10;

path public_part(path file) {
    file += ".pub";
    return file;
}

boost::asio::awaitable<Result<std::string>> keygen(CommandRunner& runner,
                                                   std::vector<std::string> arguments) {
    Command command;
    command.argv = {"ssh-keygen"};
    command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
    auto running = run_checked(runner, std::move(command));
    auto output = co_await std::move(running);
    if (!output && output.error().code == ErrorCode::host_lacks_tool) {
        auto error = std::move(output).error();
        error.hint = "apt-get install openssh-client";
        co_return error;
    }
    co_return output;
}

Result<> sync_file(const path& file) {
    NOXSUP_TRY_VALUE(const auto fd, open_file(file, O_RDONLY | O_NOFOLLOW));
    if (::fsync(fd.get()) != 0) return errno_error("fsync " + file.string(), errno);
    return {};
}

/// A pair under a name of its own, gone again unless it became the home's.
class FreshPair {
  public:
    explicit FreshPair(const path& identity) : private_(identity.string() + "." + random_hex(4)) {}
    FreshPair(const FreshPair&) = delete;
    FreshPair& operator=(const FreshPair&) = delete;
    ~FreshPair() {
        ::unlink(private_.c_str());
        ::unlink(public_part(private_).c_str());
    }
    [[nodiscard]] const path& get() const { return private_; }

    /// Gives it the home's name; where a private part has come there meanwhile, that one stays. No
    /// awaiting in here: nobody else of this process comes between.
    [[nodiscard]] Result<> take_place(const path& identity) const {
        const auto public_file = public_part(identity);
        std::error_code ignored;
        if (std::filesystem::exists(std::filesystem::symlink_status(identity, ignored))) return {};
        NOXSUP_TRY(sync_file(private_));
        NOXSUP_TRY(sync_file(public_part(private_)));
        // What lies there belongs to no private part any more. Away with it first: a crash after
        // the next step must not leave a pair that does not match.
        if (::unlink(public_file.c_str()) != 0 && errno != ENOENT)
            return errno_error("remove " + public_file.string(), errno);
        if (::renameat2(AT_FDCWD, private_.c_str(), AT_FDCWD, identity.c_str(), RENAME_NOREPLACE) !=
            0) {
            if (errno == EEXIST) return {};
            return errno_error("rename to " + identity.string(), errno);
        }
        if (::rename(public_part(private_).c_str(), public_file.c_str()) != 0)
            return errno_error("rename to " + public_file.string(), errno);
        return sync_directory(identity.parent_path());
    }

  private:
    path private_;
};

}  // namespace

boost::asio::awaitable<Result<>> make_ssh_key(CommandRunner& runner, path file,
                                              std::string comment) {
    std::vector<std::string> arguments{"-q", "-t",    "ed25519", "-N",         "",
                                       "-C", comment, "-f",      file.string()};
    auto making = keygen(runner, std::move(arguments));
    NOXSUP_CO_TRY(co_await std::move(making));
    co_return Result<>();
}

boost::asio::awaitable<Result<std::string>> ensure_identity(CommandRunner& runner, path identity) {
    std::error_code ignored;
    if (!std::filesystem::exists(identity, ignored)) {
        const FreshPair fresh(identity);
        auto making = make_ssh_key(runner, fresh.get(), "noxsup");
        NOXSUP_CO_TRY(co_await std::move(making));
        NOXSUP_CO_TRY(fresh.take_place(identity));
    }
    const auto public_file = public_part(identity);
    if (!std::filesystem::exists(public_file, ignored)) {
        std::vector<std::string> arguments{"-y", "-f", identity.string()};
        auto deriving = keygen(runner, std::move(arguments));
        NOXSUP_CO_TRY_VALUE(const auto derived, co_await std::move(deriving));
        NOXSUP_CO_TRY(write_file_atomic(public_file, derived, 0644));
    }
    NOXSUP_CO_TRY_VALUE(const auto line, read_file(public_file, max_key_bytes));
    co_return std::string(trim(line));
}

}  // namespace noxsup::daemon
