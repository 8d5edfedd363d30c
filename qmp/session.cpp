#include "qmp/session.hpp"

#include <algorithm>
#include <utility>

namespace noxsup::qmp {
namespace {

constexpr std::string_view quit_command = "quit";

Error hung_up() {
    return {ErrorCode::qemu_failed, "QEMU closed the QMP connection"};
}

}  // namespace

CommandId Session::submit(Request request) {
    const auto id = ++last_id_;
    if (state_ == State::ended) {
        steps_.emplace_back(Answer{id, *why_ended_});
        return id;
    }
    enqueue(id, request.name, request.arguments, std::move(request.fds));
    return id;
}

void Session::enqueue(CommandId id, const std::string& name, const Json& arguments,
                      std::vector<UniqueFd> fds) {
    Json command{{"execute", name}, {"id", id}};
    if (!arguments.empty()) command["arguments"] = arguments;
    commands_.emplace(id, Command{name});
    queue_.push_back(Queued{id, dump_json(command) + "\n", std::move(fds)});
}

void Session::forget(CommandId id) {
    commands_.erase(id);
    std::erase_if(queue_, [id](const Queued& queued) { return queued.id == id; });
    std::erase_if(steps_, [id](const Step& step) {
        const auto* answer = std::get_if<Answer>(&step);
        return answer != nullptr && answer->id == id;
    });
}

void Session::receive(std::string_view bytes) {
    if (state_ != State::ended) framer_.feed(bytes);
}

void Session::close(Error why) {
    fail(std::move(why), false);
}

void Session::end_of_stream() {
    // What arrived whole before the end still counts.
    while (take_line()) {
    }
    fail(hung_up(), true);
}

std::optional<Step> Session::next() {
    while (steps_.empty() && take_line()) {
    }
    if (steps_.empty()) return std::nullopt;
    auto step = std::move(steps_.front());
    steps_.pop_front();
    return step;
}

bool Session::take_line() {
    if (state_ == State::ended) return false;
    auto line = framer_.next();
    if (!line) {
        fail(std::move(line).error().context("read a QMP message"), false);
        return true;
    }
    if (!*line) return false;
    if ((*line)->empty()) return true;
    auto message = parse_message(**line);
    if (message) {
        take(std::move(*message));
    } else {
        fail(std::move(message).error(), false);
    }
    return true;
}

void Session::take(Message message) {
    if (auto* event = std::get_if<Event>(&message)) {
        ++events_;
        steps_.emplace_back(std::move(*event));
    } else if (auto* reply = std::get_if<Reply>(&message)) {
        take_reply(std::move(*reply));
    } else if (state_ == State::awaiting_greeting) {
        greeting_ = std::get<Greeting>(std::move(message));
        state_ = State::negotiating;
        negotiation_ = ++last_id_;
        enqueue(negotiation_, "qmp_capabilities", Json::object(), {});
        // It goes before whatever was submitted while we waited.
        std::rotate(queue_.rbegin(), queue_.rbegin() + 1, queue_.rend());
    } else {
        ++dropped_;
    }
}

void Session::take_reply(Reply reply) {
    if (reply.id && *reply.id == fd_command_) fd_command_ = 0;
    const auto found = reply.id ? commands_.find(*reply.id) : commands_.end();
    if (found == commands_.end() || !found->second.sent) {
        ++dropped_;
        return;
    }
    commands_.erase(found);
    if (*reply.id != negotiation_) {
        const auto id = *reply.id;
        reply.events_before = events_;
        steps_.emplace_back(Answer{id, std::move(reply)});
    } else if (reply.error) {
        fail(to_error("qmp_capabilities", *reply.error), false);
    } else {
        state_ = State::ready;
        steps_.emplace_back(Ready{});
    }
}

void Session::fail(Error why, bool by_peer) {
    if (state_ == State::ended) return;
    state_ = State::ended;
    why_ended_ = why;
    queue_.clear();
    wire_.clear();
    wire_sent_ = 0;
    wire_fds_.clear();
    wire_fd_numbers_.clear();
    fd_command_ = 0;
    for (auto& [id, command] : std::exchange(commands_, {})) {
        if (id == negotiation_) continue;
        Reply done;
        done.id = id;
        done.value = Json::object();
        done.events_before = events_;
        const bool answered = by_peer && command.sent && command.name == quit_command;
        steps_.emplace_back(answered ? Answer{id, std::move(done)} : Answer{id, why});
    }
    steps_.emplace_back(Ended{std::move(why)});
}

Outgoing Session::output() {
    refill();
    return {std::string_view(wire_).substr(wire_sent_), wire_fd_numbers_};
}

void Session::refill() {
    if (state_ == State::awaiting_greeting || wire_sent_ < wire_.size()) return;
    wire_.clear();
    wire_sent_ = 0;
    while (!queue_.empty()) {
        auto& first = queue_.front();
        // Descriptors ride on the first byte of a write, so their command begins one.
        if (!first.fds.empty() && (fd_command_ != 0 || !wire_.empty())) return;
        wire_ += first.line;
        commands_.at(first.id).sent = true;
        if (!first.fds.empty()) {
            fd_command_ = first.id;
            wire_fds_ = std::move(first.fds);
            for (const auto& fd : wire_fds_) wire_fd_numbers_.push_back(fd.get());
        }
        queue_.pop_front();
    }
}

void Session::sent(std::size_t bytes) {
    if (bytes == 0) return;
    wire_sent_ = std::min(wire_sent_ + bytes, wire_.size());
    wire_fds_.clear();
    wire_fd_numbers_.clear();
}

}  // namespace noxsup::qmp
