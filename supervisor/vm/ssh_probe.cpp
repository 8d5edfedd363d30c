#include "supervisor/vm/ssh_probe.hpp"

#include <array>
#include <boost/asio.hpp>

#include "supervisor/base/async.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::vm {
namespace {

namespace asio = boost::asio;
constexpr auto as_tuple = asio::as_tuple(asio::use_awaitable);

asio::awaitable<Result<>> read_banner(std::string host, std::uint16_t port) {
    boost::system::error_code failure;
    const auto address = asio::ip::make_address(host, failure);
    if (failure) co_return Error{ErrorCode::io_error, "not an address: " + host};
    asio::ip::tcp::socket socket(co_await asio::this_coro::executor);
    const asio::ip::tcp::endpoint endpoint(address, port);
    const auto [refused] = co_await socket.async_connect(endpoint, as_tuple);
    if (refused) co_return Error{ErrorCode::io_error, "connect: " + refused.message()};
    std::array<char, 4> start{};
    const auto [ended, got] = co_await asio::async_read(socket, asio::buffer(start), as_tuple);
    if (ended) co_return Error{ErrorCode::io_error, "no ssh banner: " + ended.message()};
    if (std::string_view(start.data(), got) != "SSH-") {
        co_return Error{ErrorCode::io_error, "something other than ssh answers"};
    }
    co_return Result<>();
}

}  // namespace

std::vector<std::string> ssh_options(const SshTarget& target) {
    return {"-F", "none",
            "-o", "IdentityFile=" + ssh_config_quoted(target.identity.string()),
            "-o", "IdentitiesOnly=yes",
            "-o", "IdentityAgent=none",
            "-o", "HostKeyAlias=" + target.host_key_alias,
            "-o", "UserKnownHostsFile=" + ssh_config_quoted(target.known_hosts.string()),
            "-o", "GlobalKnownHostsFile=/dev/null",
            "-o", "StrictHostKeyChecking=yes",
            "-o", "UpdateHostKeys=no",
            "-o", "LogLevel=ERROR"};
}

asio::awaitable<Result<>> read_ssh_banner(std::string host, std::uint16_t port,
                                          std::chrono::steady_clock::duration limit) {
    Error late(ErrorCode::timeout, "no ssh banner in time");
    auto reading = read_banner(std::move(host), port);
    auto outcome = co_await with_deadline(std::move(reading), limit, std::move(late));
    co_return outcome;
}

asio::awaitable<Result<CommandOutput>> run_over_ssh(CommandRunner& runner, SshTarget target,
                                                    std::vector<std::string> words,
                                                    std::chrono::steady_clock::duration limit) {
    Command command;
    command.argv = {"ssh"};
    for (auto& option : ssh_options(target)) command.argv.push_back(std::move(option));
    const std::vector<std::string> more{
        "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-p", std::to_string(target.port),
        "-l", target.user,     "--", target.host};
    command.argv.insert(command.argv.end(), more.begin(), more.end());
    command.argv.insert(command.argv.end(), words.begin(), words.end());
    command.deadline = limit;
    auto output = co_await runner.run(command);
    if (!output) co_return std::move(output).error();
    // 255 is ssh's own; everything else came from the guest.
    if (output->status.exit_code == 255 || !output->status.exit_code) {
        co_return command_error(command, *output, ErrorCode::guest_failed);
    }
    co_return std::move(*output);
}

}  // namespace noxsup::vm
