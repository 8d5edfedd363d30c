// UNIX sockets at paths of any length, peer credentials, and messages that carry descriptors.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup {

/// The most descriptors one message carries (the kernel's SCM_MAX_FD is 253; we need a handful).
inline constexpr std::size_t max_passed_fds = 16;

/// Who is at the other end, as of connect(2) or listen(2) (SO_PEERCRED).
struct PeerCredentials {
    pid_t pid;
    uid_t uid;
    gid_t gid;
    std::vector<gid_t> groups{};  ///< supplementary ones (SO_PEERGROUPS)
};

/// A listening stream socket bound at `path` with this mode, non-blocking. Paths beyond the 107
/// bytes of sun_path are bound through their directory's descriptor. An existing name is an error:
/// unlink it first, under the lock that guards it. Errors: io_error.
Result<UniqueFd> listen_unix(const std::filesystem::path& path, mode_t mode);

/// Connects a stream socket, non-blocking. Errors: supervisor_unreachable naming the path.
Result<UniqueFd> connect_unix(const std::filesystem::path& path);

/// Errors: io_error.
Result<PeerCredentials> peer_credentials(int socket);

/// sendmsg(2) of some bytes with descriptors riding on the first byte.
/// Returns the bytes sent; 0 when the socket is full (EAGAIN). Errors: io_error.
Result<std::size_t> send_with_fds(int socket, std::string_view data, std::span<const int> fds);

/// What one recvmsg(2) brought.
struct Received {
    std::size_t bytes = 0;
    bool would_block = false;
    bool closed = false;
    std::vector<UniqueFd> fds;  ///< each CLOEXEC
};

/// Receives into `buffer`. Errors: io_error; protocol_error when more descriptors came than we
/// take.
Result<Received> receive_with_fds(int socket, std::span<char> buffer);

}  // namespace noxsup
