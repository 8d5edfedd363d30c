// Fuzzes framer, messages and session: a stream cut in two ways says the same and answers all
// commands.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "qmp/events.hpp"
#include "qmp/replies.hpp"
#include "qmp/session.hpp"

namespace {

using namespace noxsup;
using namespace noxsup::qmp;

constexpr std::size_t small_limit = 4096;

void require(bool holds) {
    if (!holds) std::abort();
}

/// The typed readers see what a hostile QEMU may send.
void read_value(const Json& value) {
    static_cast<void>(parse_status(value));
    static_cast<void>(parse_block_devices(value));
    static_cast<void>(parse_block_nodes(value));
    static_cast<void>(parse_balloon(value));
    static_cast<void>(parse_chardevs(value));
    static_cast<void>(parse_cpus(value));
    static_cast<void>(parse_kvm(value));
    static_cast<void>(parse_fdset_member(value));
    static_cast<void>(parse_migration(value));
    static_cast<void>(parse_version(value));
}

std::string word(const Step& step) {
    if (std::holds_alternative<Ready>(step)) return "ready";
    if (const auto* event = std::get_if<Event>(&step)) {
        static_cast<void>(parse_event(*event));
        return "event " + event->name + dump_json(event->data);
    }
    if (const auto* ended = std::get_if<Ended>(&step)) return "ended " + ended->why.message;
    const auto& answer = std::get<Answer>(step);
    auto text = std::to_string(answer.id);
    if (!answer.reply) return text + " failed " + answer.reply.error().message;
    if (answer.reply->error)
        return text + " refused " + to_error("x", *answer.reply->error).message;
    read_value(answer.reply->value);
    return text + dump_json(answer.reply->value);
}

/// A session with some commands, driven to its end.
class Driven {
  public:
    Driven() : session_(small_limit) {
        for (const auto* name : {"query-status", "quit", "query-block"}) {
            session_.submit(Request(name));
            ++commands_;
        }
        std::vector<UniqueFd> fds(1);
        session_.submit(Request("getfd", Json{{"fdname", "f"}}, std::move(fds)));
        session_.submit(Request("add-fd", Json::object(), std::vector<UniqueFd>(1)));
        commands_ += 2;
    }
    void feed(std::string_view bytes) {
        session_.receive(bytes);
        drain();
    }
    std::vector<std::string> end() {
        session_.end_of_stream();
        drain();
        require(answers_ == commands_);
        require(session_.ended() && session_.in_flight() == 0 && session_.output().bytes.empty());
        require(!words_.empty() && words_.back().starts_with("ended "));
        return std::move(words_);
    }

  private:
    void drain() {
        while (const auto step = session_.next()) {
            if (std::holds_alternative<Answer>(*step)) ++answers_;
            words_.push_back(word(*step));
            write();
        }
        write();
        require(session_.framer().pending() <= small_limit + 1);
    }
    void write() {
        for (auto out = session_.output(); !out.bytes.empty(); out = session_.output()) {
            // In two parts, as a full socket takes it.
            session_.sent((out.bytes.size() + 1) / 2);
        }
    }

    Session session_;
    std::vector<std::string> words_;
    std::size_t commands_ = 0;
    std::size_t answers_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::size_t piece = std::size_t{1} + data[0];
    std::string_view stream(reinterpret_cast<const char*>(data) + 1, size - 1);
    Driven by_bytes;
    for (std::size_t i = 0; i < stream.size(); ++i) by_bytes.feed(stream.substr(i, 1));
    Driven by_pieces;
    // A piece ends at a line's end as well: what QEMU answers, it answers after it was asked.
    while (!stream.empty()) {
        const auto line_end = stream.find('\n');
        const auto length =
            std::min({piece, stream.size(), line_end == stream.npos ? piece : line_end + 1});
        by_pieces.feed(stream.substr(0, length));
        stream.remove_prefix(length);
    }
    require(by_bytes.end() == by_pieces.end());
    return 0;
}
