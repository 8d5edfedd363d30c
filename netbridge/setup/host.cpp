#include "netbridge/setup/host.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio.hpp>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>

#include "netbridge/kernel_network.hpp"
#include "supervisor/base/command.hpp"
#include "supervisor/base/file.hpp"

namespace noxsup::netbridge::setup {
namespace {

namespace asio = boost::asio;

constexpr std::size_t file_limit = std::size_t{1} << 20;
/// A DHCP client without an answer gives up after a minute.
constexpr std::chrono::seconds command_limit{100};
constexpr std::chrono::seconds port_limit{20};

std::string system_path(const std::string& program) {
    for (const auto* directory : {"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"}) {
        auto path = directory + program;
        if (::access(path.c_str(), X_OK) == 0) return path;
    }
    return {};
}

asio::awaitable<Result<std::string>> run_one(CommandRunner& runner, Command command) {
    co_return co_await run_checked(runner, std::move(command));
}

class ThisHost final : public Host {
  public:
    Result<std::optional<FileImage>> read(const std::string& path) override;
    std::vector<std::string> list(const std::string& directory) override;
    Result<> write(const std::string& path, const FileImage& image) override;
    Result<> remove(const std::string& path) override;
    Result<std::string> run(const std::vector<std::string>& argv) override;
    Result<> wait_for_port(const std::string& card, const std::string& bridge) override;
};

Result<std::optional<FileImage>> ThisHost::read(const std::string& path) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) {
        const int failure = errno;
        if (failure == ENOENT || failure == ENOTDIR) return std::optional<FileImage>();
        if (failure == ELOOP) {
            return Error{ErrorCode::unreadable_file, path + " is a symbolic link",
                         "put the file itself there"};
        }
        return errno_error("open " + path, failure, ErrorCode::unreadable_file);
    }
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return errno_error("stat " + path, errno);
    if (!S_ISREG(info.st_mode)) {
        return Error{ErrorCode::unreadable_file, path + " is not a regular file"};
    }
    FileImage image;
    constexpr unsigned mode_bits = 07777;
    image.mode = info.st_mode & mode_bits;
    image.uid = info.st_uid;
    image.gid = info.st_gid;
    NOXSUP_TRY_VALUE(image.bytes, read_all(fd.get(), file_limit, path));
    return std::optional(std::move(image));
}

std::vector<std::string> ThisHost::list(const std::string& directory) {
    std::vector<std::string> names;
    std::error_code failure;
    for (const auto& entry : std::filesystem::directory_iterator(directory, failure)) {
        names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
}

Result<> ThisHost::write(const std::string& path, const FileImage& image) {
    const std::filesystem::path file(path);
    NOXSUP_TRY(make_directories(file.parent_path(), 0755));
    // A temporary name of its own and a rename: no link at the old name is followed.
    NOXSUP_TRY(write_file_atomic(file, image.bytes, image.mode));
    NOXSUP_TRY_VALUE(const auto fd, open_file(file, O_RDONLY | O_NOFOLLOW));
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return errno_error("stat " + path, errno);
    if (info.st_uid == image.uid && info.st_gid == image.gid) return {};
    if (::fchown(fd.get(), image.uid, image.gid) != 0) return errno_error("chown " + path, errno);
    // chown takes the set-id bits away.
    if (::fchmod(fd.get(), image.mode) != 0) return errno_error("chmod " + path, errno);
    return {};
}

Result<> ThisHost::remove(const std::string& path) {
    if (::unlink(path.c_str()) != 0) {
        if (errno == ENOENT || errno == ENOTDIR) return {};
        return errno_error("remove " + path, errno);
    }
    return sync_directory(std::filesystem::path(path).parent_path());
}

Result<std::string> ThisHost::run(const std::vector<std::string>& argv) {
    Command command;
    command.argv = argv;
    command.argv.front() = system_path(argv.front());
    if (command.argv.front().empty()) {
        return Error{ErrorCode::host_lacks_tool, argv.front() + " is not installed"};
    }
    command.deadline = command_limit;
    asio::io_context context(1);
    ProcessRunner runner;
    std::optional<Result<std::string>> outcome;
    asio::co_spawn(context, run_one(runner, std::move(command)),
                   [&](const std::exception_ptr& failure, Result<std::string> result) {
                       if (failure) std::rethrow_exception(failure);
                       outcome.emplace(std::move(result));
                   });
    context.run();
    return std::move(*outcome);
}

Result<> ThisHost::wait_for_port(const std::string& card, const std::string& bridge) {
    NOXSUP_TRY_VALUE(const auto card_name, InterfaceName::parse(card));
    NOXSUP_TRY_VALUE(const auto bridge_name, InterfaceName::parse(bridge));
    NOXSUP_TRY_VALUE(const auto kernel, open_kernel_network());
    const auto deadline = std::chrono::steady_clock::now() + port_limit;
    for (;;) {
        NOXSUP_TRY_VALUE(const auto port, kernel->find_link(card_name));
        NOXSUP_TRY_VALUE(const auto master, kernel->find_link(bridge_name));
        if (port && master && master->kind == "bridge" && master->up &&
            port->master == master->index)
            return {};
        if (std::chrono::steady_clock::now() >= deadline) {
            const auto* const lack = !master ? " was not made" : " did not become a port of it";
            return Error{ErrorCode::timeout, (master ? card : bridge) + lack + " within " +
                                                 std::to_string(port_limit.count()) + " s"};
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
}

}  // namespace

std::unique_ptr<Host> this_host() {
    return std::make_unique<ThisHost>();
}

}  // namespace noxsup::netbridge::setup
