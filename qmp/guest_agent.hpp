// The guest agent's protocol without I/O: synchronised, one command at a time, never trusted.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "qmp/framer.hpp"
#include "qmp/message.hpp"
#include "qmp/session.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::qmp {

/// The longest line taken from a guest, in bytes; guest-exec output comes in one line.
inline constexpr std::size_t max_agent_line_bytes = std::size_t{4} << 20;

/// What came of a command to the agent: its reply, or why there is none.
struct AgentAnswer {
    CommandId id = 0;
    Result<Reply> reply;
};
using AgentStep = std::variant<AgentAnswer, Ended>;

/// A state machine fed with bytes of a virtio-serial port, used as Session is.
///
/// Nobody greets here, the agent may be absent, may come later or restart, and old replies may lie
/// in the port. So the first command, and each one after a command that was given up, is preceded
/// by guest-sync-delimited with a fresh number (qga/qapi-schema.json, since 1.1): a 0xFF byte makes
/// the agent drop what it has half read, and all that arrives before the 0xFF of its answer is
/// thrown away. Then commands go one at a time, because older agents return no id.
class AgentSession {
  public:
    /// @param seed of the synchronisation numbers; another one for each connection
    explicit AgentSession(std::uint32_t seed, std::size_t max_line = max_agent_line_bytes)
        : max_line_(max_line), framer_(max_line), sync_number_(seed & 0x7fffffffU) {}

    /// Queues a command. @pre it has no descriptors
    CommandId submit(Request request);
    /// Nobody waits for this one any more. When it is under way the next one synchronises again.
    void forget(CommandId id);
    /// Makes the next command synchronise first, which proves that the agent is there now.
    void resync();

    void receive(std::string_view bytes);
    void end_of_stream();
    /// Ends all commands with `why`. Calls after the first do nothing.
    void close(Error why);
    std::optional<AgentStep> next();

    [[nodiscard]] Outgoing output();
    void sent(std::size_t bytes);
    [[nodiscard]] bool ended() const { return why_ended_.has_value(); }
    /// The agent has answered a synchronisation and nothing has gone wrong since.
    [[nodiscard]] bool synchronised() const { return sync_ == Sync::done; }
    /// Commands without an answer yet.
    [[nodiscard]] std::size_t in_flight() const { return queue_.size(); }

  private:
    enum class Sync { needed, asked, delimited, done };
    struct Queued {
        CommandId id;
        std::string line;
    };

    void refill();
    bool take_line();
    void take(std::string_view line);
    void take_sync(std::string_view line);
    void answer(Result<Reply> reply);
    void lose_sync();

    std::size_t max_line_;
    Framer framer_;
    Sync sync_ = Sync::needed;
    std::uint32_t sync_number_;
    bool under_way_ = false;  ///< the first of the queue has been written
    CommandId last_id_ = 0;
    std::deque<Queued> queue_;
    std::string wire_;
    std::size_t wire_sent_ = 0;
    std::deque<AgentStep> steps_;
    std::optional<Error> why_ended_;
};

/// GuestNetworkInterface with its addresses (qga/qapi-schema.json, since 1.1).
struct GuestInterface {
    std::string name;
    std::string mac;                     ///< empty where it has none
    std::vector<std::string> addresses;  ///< "192.0.2.7/24", "fe80::1/64"
};

/// GuestExecStatus (qga/qapi-schema.json, since 2.5).
struct GuestExecStatus {
    bool exited = false;
    std::optional<int> exit_code;
    std::optional<int> signal;
    std::string out;
    std::string err;
    bool truncated = false;  ///< the agent kept only a part of the output
};

/// Errors: protocol_error. Text stays the guest's own: escape it before showing it.
Result<std::vector<GuestInterface>> parse_guest_interfaces(const Json& value);
Result<GuestExecStatus> parse_guest_exec_status(const Json& value);

}  // namespace noxsup::qmp
