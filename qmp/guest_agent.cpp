#include "qmp/guest_agent.hpp"

#include <algorithm>
#include <utility>

#include "qmp/base64.hpp"

namespace noxsup::qmp {
namespace {

constexpr char sentinel = '\xff';

Error hung_up() {
    return {ErrorCode::guest_failed, "the guest agent's port was closed"};
}

Error nonsense() {
    return {ErrorCode::guest_failed, "the guest agent sent what is no reply"};
}

std::string command_line(const std::string& name, const Json& arguments, CommandId id) {
    Json command{{"execute", name}, {"id", id}};
    if (!arguments.empty()) command["arguments"] = arguments;
    return dump_json(command) + "\n";
}

}  // namespace

CommandId AgentSession::submit(Request request) {
    const auto id = ++last_id_;
    if (why_ended_) {
        steps_.emplace_back(AgentAnswer{id, *why_ended_});
    } else {
        queue_.push_back(Queued{id, command_line(request.name, request.arguments, id)});
    }
    return id;
}

void AgentSession::forget(CommandId id) {
    if (!queue_.empty() && queue_.front().id == id) {
        // What the guest has not begun to read it shall not carry out later. A question that was
        // not answered is asked again: QEMU throws away what is written while no agent has the port
        // open.
        if (wire_sent_ == 0) wire_.clear();
        lose_sync();
    }
    std::erase_if(queue_, [id](const Queued& queued) { return queued.id == id; });
    std::erase_if(steps_, [id](const AgentStep& step) {
        const auto* answer = std::get_if<AgentAnswer>(&step);
        return answer != nullptr && answer->id == id;
    });
}

void AgentSession::resync() {
    if (!under_way_) sync_ = Sync::needed;
}

void AgentSession::lose_sync() {
    sync_ = Sync::needed;
    under_way_ = false;
}

void AgentSession::receive(std::string_view bytes) {
    if (!why_ended_) framer_.feed(bytes);
}

void AgentSession::end_of_stream() {
    while (take_line()) {
    }
    close(hung_up());
}

void AgentSession::close(Error why) {
    if (why_ended_) return;
    why_ended_ = why;
    for (const auto& queued : std::exchange(queue_, {})) {
        steps_.emplace_back(AgentAnswer{queued.id, why});
    }
    wire_.clear();
    wire_sent_ = 0;
    lose_sync();
    steps_.emplace_back(Ended{std::move(why)});
}

std::optional<AgentStep> AgentSession::next() {
    while (steps_.empty() && take_line()) {
    }
    if (steps_.empty()) return std::nullopt;
    auto step = std::move(steps_.front());
    steps_.pop_front();
    return step;
}

bool AgentSession::take_line() {
    if (why_ended_) return false;
    auto line = framer_.next();
    if (!line) {
        // A guest may flood its port; that costs it this command and us at most one line of memory.
        framer_ = Framer(max_line_);
        answer(nonsense());
        return true;
    }
    if (!*line) return false;
    take(**line);
    return true;
}

void AgentSession::take(std::string_view line) {
    // Everything up to the last sentinel is left over from before.
    const auto mark = line.rfind(sentinel);
    if (mark != std::string_view::npos) {
        line.remove_prefix(mark + 1);
        if (sync_ == Sync::asked) sync_ = Sync::delimited;
    }
    if (sync_ == Sync::delimited) {
        take_sync(line);
        return;
    }
    if (sync_ != Sync::done || !under_way_ || line.empty()) return;
    auto message = parse_message(line);
    auto* reply = message ? std::get_if<Reply>(&*message) : nullptr;
    if (reply == nullptr) {
        answer(nonsense());
        return;
    }
    if (reply->id && *reply->id != queue_.front().id) return;
    answer(std::move(*reply));
}

void AgentSession::take_sync(std::string_view line) {
    // The sentinel and its answer may come with a line end between them.
    if (line.empty()) return;
    sync_ = Sync::asked;
    const auto message = parse_message(line);
    const auto* reply = message ? std::get_if<Reply>(&*message) : nullptr;
    // Another number answers an older question; ours is still to come.
    if (reply == nullptr || reply->error || reply->value != sync_number_) return;
    sync_ = Sync::done;
}

void AgentSession::answer(Result<Reply> reply) {
    const bool failed = !reply;
    if (under_way_) {
        steps_.emplace_back(AgentAnswer{queue_.front().id, std::move(reply)});
        queue_.pop_front();
        under_way_ = false;
    }
    if (failed) lose_sync();
}

Outgoing AgentSession::output() {
    refill();
    return {std::string_view(wire_).substr(wire_sent_), {}};
}

void AgentSession::refill() {
    if (wire_sent_ < wire_.size() || queue_.empty() || under_way_) return;
    wire_.clear();
    wire_sent_ = 0;
    if (sync_ == Sync::needed) {
        sync_number_ = (sync_number_ + 1) & 0x7fffffffU;
        const Json arguments{{"id", sync_number_}};
        const Json command{{"execute", "guest-sync-delimited"}, {"arguments", arguments}};
        wire_ = sentinel + dump_json(command) + "\n";
        sync_ = Sync::asked;
    } else if (sync_ == Sync::done) {
        wire_ = queue_.front().line;
        under_way_ = true;
    }
}

void AgentSession::sent(std::size_t bytes) {
    wire_sent_ = std::min(wire_sent_ + bytes, wire_.size());
}

Result<std::vector<GuestInterface>> parse_guest_interfaces(const Json& value) {
    if (!value.is_array()) return nonsense();
    std::vector<GuestInterface> interfaces;
    for (const auto& item : value) {
        GuestInterface interface;
        NOXSUP_TRY_VALUE(interface.name, json_member<std::string>(item, "name"));
        NOXSUP_TRY_VALUE(interface.mac, json_member_or<std::string>(item, "hardware-address", {}));
        NOXSUP_TRY_VALUE(const auto addresses,
                         json_member_or<Json>(item, "ip-addresses", Json::array()));
        if (!addresses.is_array()) return nonsense();
        for (const auto& address : addresses) {
            NOXSUP_TRY_VALUE(const auto text, json_member<std::string>(address, "ip-address"));
            NOXSUP_TRY_VALUE(const auto prefix, json_member<std::uint8_t>(address, "prefix"));
            interface.addresses.push_back(text + "/" + std::to_string(prefix));
        }
        interfaces.push_back(std::move(interface));
    }
    return interfaces;
}

Result<GuestExecStatus> parse_guest_exec_status(const Json& value) {
    GuestExecStatus status;
    NOXSUP_TRY_VALUE(status.exited, json_member<bool>(value, "exited"));
    if (value.contains("exitcode")) {
        NOXSUP_TRY_VALUE(status.exit_code, json_member<int>(value, "exitcode"));
    }
    if (value.contains("signal")) {
        NOXSUP_TRY_VALUE(status.signal, json_member<int>(value, "signal"));
    }
    for (const auto& [key, output] :
         {std::pair{"out-data", &status.out}, {"err-data", &status.err}}) {
        NOXSUP_TRY_VALUE(const auto text, json_member_or<std::string>(value, key, {}));
        auto bytes = decode_base64(text);
        if (!bytes) return detail::json_member_error(key, "is no base64");
        *output = std::move(*bytes);
    }
    NOXSUP_TRY_VALUE(const auto out_cut, json_member_or<bool>(value, "out-truncated", false));
    NOXSUP_TRY_VALUE(const auto err_cut, json_member_or<bool>(value, "err-truncated", false));
    status.truncated = out_cut || err_cut;
    return status;
}

}  // namespace noxsup::qmp
