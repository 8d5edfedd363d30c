// Fuzzes the control protocol's framing and messages: cuts do not matter, and what is taken is
// given back the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/control/rpc.hpp"

namespace {

using namespace noxsup;
using namespace noxsup::control;

constexpr std::size_t small_limit = 4096;

void require(bool holds) {
    if (!holds) std::abort();
}

std::vector<std::string> lines_of(std::string_view stream, std::size_t piece) {
    LineFramer framer(small_limit);
    std::vector<std::string> lines;
    while (!stream.empty()) {
        const auto part = stream.substr(0, piece);
        stream.remove_prefix(part.size());
        const bool fed = framer.feed(part).has_value();
        while (auto line = framer.next()) {
            require(line->size() <= small_limit);
            lines.push_back(std::move(*line));
        }
        if (!fed) break;
    }
    return lines;
}

/// A message that was taken survives being sent on.
void check_again(const Message& message) {
    const auto encoded = std::visit([](const auto& known) { return encode(known); }, message);
    require(encoded.ends_with('\n') && encoded.find('\n') + 1 == encoded.size());
    const auto again = parse_message(std::string_view(encoded).substr(0, encoded.size() - 1));
    const auto* same = std::get_if<Message>(&again);
    require(same != nullptr && same->index() == message.index());
    require(std::visit([](const auto& known) { return encode(known); }, *same) == encoded);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view stream(reinterpret_cast<const char*>(data) + 1, size - 1);
    const auto lines = lines_of(stream, 1);
    require(lines == lines_of(stream, std::size_t{1} + data[0]));
    for (const auto& line : lines) {
        const auto parsed = parse_message(line);
        if (const auto* message = std::get_if<Message>(&parsed)) check_again(*message);
    }
    return 0;
}
