// A QMP server whose every word a test writes: late, split, wrong, gone in the middle of a line.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/base/unique_fd.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::test {

/// Listens on a socket in a directory of its own and runs a script on a thread of its own. Each
/// wait in a script ends after 60 s by an exception; finish() tells what went wrong.
class ScriptedQmpPeer {
  public:
    using Script = std::function<void(ScriptedQmpPeer& peer)>;

    explicit ScriptedQmpPeer(Script script);
    ScriptedQmpPeer(const ScriptedQmpPeer&) = delete;
    ScriptedQmpPeer& operator=(const ScriptedQmpPeer&) = delete;
    /// Ends the script by closing its sockets.
    ~ScriptedQmpPeer();

    [[nodiscard]] std::filesystem::path path() const { return directory_ / "qmp"; }
    /// Waits for the script's end; empty when it did all it should, else the reason.
    std::string finish();

    // For scripts:
    /// Waits for the next connection, and lets go of the one before.
    void accept();
    /// Sends bytes as they are; waits while the client does not read.
    void say(std::string_view bytes);
    /// The same in pieces of `size` bytes, each in a packet of its own.
    void say_in_pieces(std::string_view bytes, std::size_t size);
    void say_event(std::string_view name, const Json& data = Json::object());
    void greet();
    /// accept(), greet() and the answer to qmp_capabilities.
    void negotiate();
    /// The next command; descriptors that came with it are kept in descriptors().
    Json read_command();
    /// Reads a command, checks its name and returns it.
    Json expect(std::string_view name);
    void answer(const Json& command, const Json& value = Json::object());
    void refuse(const Json& command, std::string_view error_class, std::string_view description);
    /// Waits until the client has closed its end; throws when it says anything else before.
    void expect_hang_up();
    void hang_up();
    std::vector<UniqueFd>& descriptors() { return descriptors_; }
    /// All commands and replies read so far in one recv(2) each: the writes of the client.
    [[nodiscard]] const std::vector<std::string>& reads() const { return reads_; }

  private:
    bool receive();
    void wait_for(int fd, short events) const;

    TempDir directory_;
    UniqueFd listener_;
    UniqueFd stop_;  ///< becomes readable when the script is to end
    UniqueFd connection_;
    std::string buffer_;
    std::vector<std::string> reads_;
    std::vector<UniqueFd> descriptors_;
    std::string failure_;
    std::thread thread_;
};

}  // namespace noxsup::test
