#include "supervisor/base/unix_socket.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "tests/support/temp_dir.hpp"

namespace noxsup {
namespace {

TEST(UnixSocket, WorksAtPathsLongerThanSunPath) {
    const test::TempDir dir;
    const auto deep = dir / std::string(90, 'a') / std::string(90, 'b');
    std::filesystem::create_directories(deep);
    const auto path = deep / "s";
    const auto listener = listen_unix(path, 0600);
    ASSERT_TRUE(listener) << listener.error().message;
    struct stat info {};
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0600U);
    const auto client = connect_unix(path);
    ASSERT_TRUE(client) << client.error().message;
    const auto peer = peer_credentials(client->get());
    ASSERT_TRUE(peer);
    EXPECT_EQ(peer->pid, ::getpid());
}

TEST(UnixSocket, AnExistingNameIsAnError) {
    const test::TempDir dir;
    const auto first = listen_unix(dir / "s", 0600);
    ASSERT_TRUE(first);
    EXPECT_FALSE(listen_unix(dir / "s", 0600));
    EXPECT_EQ(connect_unix(dir / "none").error().code, ErrorCode::supervisor_unreachable);
}

TEST(UnixSocket, CarriesDescriptorsAsCloexec) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    const UniqueFd left(ends[0]);
    const UniqueFd right(ends[1]);
    std::array<int, 2> pipe_ends{};
    ASSERT_EQ(::pipe2(pipe_ends.data(), O_CLOEXEC), 0);
    const UniqueFd pipe_read(pipe_ends[0]);
    const UniqueFd pipe_write(pipe_ends[1]);
    ASSERT_EQ(*send_with_fds(left.get(), "hi", std::array{pipe_write.get()}), 2U);
    std::array<char, 16> buffer{};
    auto received = receive_with_fds(right.get(), buffer);
    ASSERT_TRUE(received);
    EXPECT_EQ(received->bytes, 2U);
    ASSERT_EQ(received->fds.size(), 1U);
    EXPECT_NE(::fcntl(received->fds[0].get(), F_GETFD) & FD_CLOEXEC, 0);
    ASSERT_EQ(::write(received->fds[0].get(), "x", 1), 1);
    ASSERT_EQ(::read(pipe_read.get(), buffer.data(), 1), 1);
    EXPECT_EQ(buffer[0], 'x');
    EXPECT_TRUE(receive_with_fds(right.get(), buffer)->would_block);
}

}  // namespace
}  // namespace noxsup
