// The QMP conversation without I/O: greeting, negotiation, numbered commands, replies and events.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "qmp/framer.hpp"
#include "qmp/message.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::qmp {

/// One command to send.
struct Request {
    explicit Request(std::string command_name, Json command_arguments = Json::object(),
                     std::vector<UniqueFd> descriptors = {})
        : name(std::move(command_name)),
          arguments(std::move(command_arguments)),
          fds(std::move(descriptors)) {}

    std::string name;           ///< "query-status"
    Json arguments;             ///< an object; an empty one is not sent
    std::vector<UniqueFd> fds;  ///< sent along (SCM_RIGHTS) and closed here; for getfd and add-fd
    /// How long the reply may take, from the call on; the client's own default when nothing is set.
    std::optional<std::chrono::steady_clock::duration> deadline;
};

/// Negotiation is over; the greeting can be asked for.
struct Ready {};

/// The end of one submitted command: QEMU's reply, or why none will come.
struct Answer {
    CommandId id = 0;
    Result<Reply> reply;
};

/// The conversation is over; the last step of all. Errors: qemu_failed (the connection ended),
/// protocol_error (what came is no QMP), or what close() was given.
struct Ended {
    Error why;
};

using Step = std::variant<Ready, Event, Answer, Ended>;

/// Bytes to write next, and the descriptors that ride on the first of them.
struct Outgoing {
    std::string_view bytes;
    std::span<const int> fds;
};

/// A state machine fed with bytes. Use: receive() or close(), then next() until it is empty and
/// write what output() has; output() may have more after each submit() and each next().
///
/// Nothing is sent before the greeting (a connection waiting behind another client must not leave
/// commands behind that QEMU would carry out much later); then qmp_capabilities goes out together
/// with all commands submitted until then. Replies are matched by id only. Of the commands that
/// carry descriptors only one is under way at a time: QEMU keeps a single set of received
/// descriptors.
class Session {
  public:
    explicit Session(std::size_t max_line = max_line_bytes) : framer_(max_line) {}

    /// Queues a command; its Answer comes as a step. @pre fds.size() <= max_passed_fds
    CommandId submit(Request request);
    /// Nobody waits for this one any more: it is not sent if it is still here, its reply is
    /// dropped.
    void forget(CommandId id);

    /// Bytes from QEMU. Ignored once the conversation is over.
    void receive(std::string_view bytes);
    /// The stream is at its end, or is to be: all commands end. `quit` that was sent is answered by
    /// the end of the stream; every other command gets `why`. Calls after the first do nothing.
    void close(Error why);
    /// close() with the error for a QEMU that hung up.
    void end_of_stream();

    /// The next thing that happened, in QEMU's order.
    std::optional<Step> next();

    /// What to write now; empty when there is nothing. Good until the next call of a non-const
    /// member.
    [[nodiscard]] Outgoing output();
    /// That many bytes of output() were taken by the socket.
    void sent(std::size_t bytes);

    [[nodiscard]] bool ready() const { return state_ == State::ready; }
    [[nodiscard]] bool ended() const { return state_ == State::ended; }
    /// Null until it has come.
    [[nodiscard]] const Greeting* greeting() const { return greeting_ ? &*greeting_ : nullptr; }
    /// Commands without an answer yet.
    [[nodiscard]] std::size_t in_flight() const { return commands_.size(); }
    /// Replies and greetings that belonged to nothing.
    [[nodiscard]] std::size_t dropped() const { return dropped_; }
    [[nodiscard]] const Framer& framer() const { return framer_; }

  private:
    enum class State { awaiting_greeting, negotiating, ready, ended };
    struct Queued {
        CommandId id;
        std::string line;
        std::vector<UniqueFd> fds;
    };
    struct Command {
        std::string name;
        bool sent = false;
    };

    void enqueue(CommandId id, const std::string& name, const Json& arguments,
                 std::vector<UniqueFd> fds);
    void refill();
    void take(Message message);
    void take_reply(Reply reply);
    bool take_line();
    void fail(Error why, bool by_peer);

    Framer framer_;
    State state_ = State::awaiting_greeting;
    std::optional<Greeting> greeting_;
    CommandId last_id_ = 0;
    CommandId negotiation_ = 0;  ///< id of qmp_capabilities
    CommandId fd_command_ = 0;   ///< the command with descriptors that is under way, or 0
    std::map<CommandId, Command> commands_;
    std::deque<Queued> queue_;  ///< not yet begun to be written
    std::string wire_;          ///< being written
    std::size_t wire_sent_ = 0;
    std::vector<UniqueFd> wire_fds_;
    std::vector<int> wire_fd_numbers_;
    std::deque<Step> steps_;
    std::optional<Error> why_ended_;
    std::size_t dropped_ = 0;
    std::uint64_t events_ = 0;
};

}  // namespace noxsup::qmp
