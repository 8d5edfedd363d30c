// Fuzzes the guest agent's core: whatever a guest sends, each command ends once and memory stays
// bounded.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "qmp/base64.hpp"
#include "qmp/guest_agent.hpp"

namespace {

using namespace noxsup;
using namespace noxsup::qmp;

constexpr std::size_t small_limit = 4096;

void require(bool holds) {
    if (!holds) std::abort();
}

void read_value(const Json& value) {
    static_cast<void>(parse_guest_interfaces(value));
    static_cast<void>(parse_guest_exec_status(value));
    if (!value.is_string()) return;
    const auto& text = value.get_ref<const std::string&>();
    const auto bytes = decode_base64(text);
    require(!bytes || encode_base64(*bytes) == text);
    require(decode_base64(encode_base64(text)) == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    // The first number asked for is 1, so that an input can answer it.
    AgentSession session(0, small_limit);
    std::size_t commands = 0;
    std::size_t answers = 0;
    const auto step = [&] {
        while (const auto next = session.next()) {
            const auto* answer = std::get_if<AgentAnswer>(&*next);
            if (answer == nullptr) continue;
            ++answers;
            if (answer->reply && !answer->reply->error) read_value(answer->reply->value);
        }
        for (auto out = session.output(); !out.bytes.empty(); out = session.output()) {
            session.sent((out.bytes.size() + 1) / 2);
        }
    };
    std::string_view stream(reinterpret_cast<const char*>(data), size);
    while (!stream.empty()) {
        if (session.in_flight() < 2) {
            session.submit(Request("guest-ping"));
            ++commands;
        }
        step();
        const auto length =
            std::min(stream.size(), std::size_t{1} + static_cast<std::uint8_t>(stream[0]) % 64);
        session.receive(stream.substr(0, length));
        stream.remove_prefix(length);
        step();
    }
    session.end_of_stream();
    step();
    require(answers == commands && session.in_flight() == 0);
    return 0;
}
